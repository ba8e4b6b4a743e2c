{{/*
What no schema can see in names: those of a release, and those that would stand for two objects at once.
*/}}

{{- define "tidegate.checkNames" -}}
{{- $full := include "tidegate.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- fail (printf "Services cannot be named after %s: a DNS label is small letters, digits and hyphens, and begins with a letter. Give the release such a name, or set fullnameOverride." $full) -}}
{{- end -}}
{{- include "tidegate.checkSecrets" . -}}
{{- include "tidegate.checkAccounts" . -}}
{{- end }}

{{/* With both named the Job's ConfigMap goes, which owns the Secret that the Job made: so would that. */}}
{{- define "tidegate.checkSecrets" -}}
{{- $made := include "tidegate.madeSecret" . -}}
{{- range $value := list "secrets" "keys" -}}
{{- if eq (index $.Values $value).existingSecret $made -}}
{{- fail (printf "%s.existingSecret is %s, the Secret that the chart makes itself: leave it empty, or copy that Secret under another name and give that name." $value $made) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The components that get a pod and a service account of their own, as a JSON list. */}}
{{- define "tidegate.components" -}}
{{- $values := .Values -}}
{{- $components := list "gateway" "worker" "streaming" -}}
{{- $components = concat $components (ternary (list "operator") (list) $values.operator.enabled) -}}
{{- $components = concat $components (ternary (list "cache") (list) $values.cache.enabled) -}}
{{- $components = concat $components (ternary (list "qdrant") (list) (and $values.cache.enabled $values.cache.qdrant.bundled.enabled)) -}}
{{- $components = concat $components (ternary (list "nats") (list) (eq $values.nats.mode "bundled")) -}}
{{- $components = concat $components (ternary (list "simulator") (list) (ne (include "tidegate.simulator" .) "")) -}}
{{- concat $components (ternary (list "secrets") (list) (ne (include "tidegate.makesSecret" .) "")) | toJson -}}
{{- end }}

{{/* One account may serve several components, and then none of them can make it. */}}
{{- define "tidegate.checkAccounts" -}}
{{- $made := dict -}}
{{- range $component := include "tidegate.components" . | fromJsonArray -}}
{{- $own := include "tidegate.values" (dict "root" $ "component" $component) | fromYaml -}}
{{- $name := include "tidegate.serviceAccountName" (dict "root" $ "component" $component "values" $own) -}}
{{- if $own.serviceAccount.create -}}
{{- if hasKey $made $name -}}
{{- fail (printf "%s and %s would each make the service account %s: make it yourself and set defaults.serviceAccount.create to false, or give each component a serviceAccount.name of its own." (get $made $name) $component $name) -}}
{{- end -}}
{{- $_ := set $made $name $component -}}
{{- end -}}
{{- end -}}
{{- end }}
