{{/*
Where each secret comes from, and how it gets into a pod.

Pods mount whole directories, never single files of them (`subPath`), so that a rotated secret shows.
A pod whose Secret or key is not there yet waits for it.
*/}}

{{- define "tidegate.madeSecret" -}}
{{- printf "%s-secrets" (include "tidegate.fullname" .) -}}
{{- end }}

{{/* Whether the Job has anything to make; empty if not. */}}
{{- define "tidegate.makesSecret" -}}
{{- if not (and .Values.secrets.existingSecret .Values.keys.existingSecret) -}}yes{{- end -}}
{{- end }}

{{/*
Whether the Secret outlives an uninstall; empty if not. Volumes that stay are of no use without it:
clients' keys, and what their tokens are signed with, would be others after the next install.
*/}}
{{- define "tidegate.keepsSecret" -}}
{{- $nats := .Values.nats -}}
{{- if and (eq $nats.mode "bundled") $nats.persistence.enabled (eq $nats.persistence.whenDeleted "Retain") -}}yes{{- end -}}
{{- end }}

{{/* The Secret that holds `key`, or nothing: NATS servers of others may ask for no password. */}}
{{- define "tidegate.secretOf" -}}
{{- $values := .root.Values -}}
{{- $made := include "tidegate.madeSecret" .root -}}
{{- if eq .key "keys.jsonl" -}}
{{- default $made $values.keys.existingSecret -}}
{{- else if and (hasPrefix "nats-" .key) (eq $values.nats.mode "external") -}}
{{- $values.nats.external.existingSecret -}}
{{- else -}}
{{- default $made $values.secrets.existingSecret -}}
{{- end -}}
{{- end }}

{{/* A volume `secrets` with a file for each of `keys`. */}}
{{- define "tidegate.secretVolume" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range $key := .keys }}
      {{- $name := include "tidegate.secretOf" (dict "root" $.root "key" $key) }}
      {{- if $name }}
      {{- $from := ternary $.root.Values.keys.existingSecretKey $key (and (eq $key "keys.jsonl") (ne $.root.Values.keys.existingSecret "")) }}
      - secret: {name: {{ $name | quote }}, items: [{key: {{ $from | quote }}, path: {{ $key | quote }}}]}
      {{- end }}
      {{- end }}
{{- end }}

{{/* The Secret with the authority that NATS's certificates are checked by, or nothing. */}}
{{- define "tidegate.natsCaSecret" -}}
{{- $nats := .Values.nats -}}
{{- ternary $nats.external.tls.caSecret $nats.tls.existingSecret (eq $nats.mode "external") -}}
{{- end }}

{{/* A volume of one Secret. `keys` (optional): those of its keys that are mounted. */}}
{{- define "tidegate.oneSecretVolume" -}}
- name: {{ .name }}
  secret:
    secretName: {{ .secret | quote }}
    defaultMode: 0440
    {{- with .keys }}
    items:
      {{- range . }}
      - {key: {{ . | quote }}, path: {{ . | quote }}}
      {{- end }}
    {{- end }}
{{- end }}
