{{/*
The CRD is the whole cluster's, and can belong to one release alone: to the one that Helm's annotations
name. Any other leaves it alone, as long as it is not older than what that one's operator needs.
*/}}

{{/* The number of a CRD's schema; 0 where it has none. */}}
{{- define "tidegate.crdSchema" -}}
{{- dig "metadata" "annotations" "tidegate.dev/schema" "0" . -}}
{{- end }}

{{/* `release` in `namespace`, as a CRD's annotations name who it belongs to; or nobody. */}}
{{- define "tidegate.crdOwner" -}}
{{- $notes := dig "metadata" "annotations" dict . -}}
{{- $labels := dig "metadata" "labels" dict . -}}
{{- if eq (default "" (get $labels "app.kubernetes.io/managed-by")) "Helm" -}}
{{- printf "%s in namespace %s" (get $notes "meta.helm.sh/release-name") (get $notes "meta.helm.sh/release-namespace") -}}
{{- end -}}
{{- end }}

{{/*
Whether this release applies the CRD; empty if not. Without a cluster to ask it does. A newer one is left
as it is even where it is ours: objects may be stored by it.
*/}}
{{- define "tidegate.appliesCrd" -}}
{{- $crd := .Files.Get "files/crd.yaml" | fromYaml -}}
{{- $name := $crd.metadata.name -}}
{{- $there := default dict (lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" $name) -}}
{{- $needed := include "tidegate.crdSchema" $crd | int -}}
{{- $older := lt (include "tidegate.crdSchema" $there | int) $needed -}}
{{- $owner := include "tidegate.crdOwner" $there -}}
{{- $release := .Release.Name -}}
{{- $namespace := .Release.Namespace -}}
{{- if not $there -}}
yes
{{- else if eq $owner (printf "%s in namespace %s" $release $namespace) -}}
{{- if le (include "tidegate.crdSchema" $there | int) $needed -}}yes{{- end -}}
{{- else if $older -}}
{{- $annotate := printf "kubectl annotate crd %s meta.helm.sh/release-name=%s meta.helm.sh/release-namespace=%s --overwrite" $name $release $namespace -}}
{{- $label := printf "kubectl label crd %s app.kubernetes.io/managed-by=Helm --overwrite" $name -}}
{{- $force := ternary "" " (Helm 4: with --force-conflicts)" (ne $owner "") -}}
{{- fail (printf "the CRD %s in the cluster is older than this chart, and is not this release's, but %s. Upgrade that first, or make it this release's and try again%s:\n  %s\n  %s\nOr see to the CRD yourself and set crds.enabled to false." $name (default "nobody's" $owner) $force $annotate $label) -}}
{{- end -}}
{{- end }}
