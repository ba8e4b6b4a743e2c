{{/*
Names, labels and the image: what every object of the chart needs.

Most templates take a dict: `root` is the chart's context, `component` the part it is for (gateway,
worker, …), `values` that component's values with the defaults under them.
*/}}

{{- define "tidegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Cut at 40, so that the longest suffix and a StatefulSet's revision still fit into a label. */}}
{{- define "tidegate.fullname" -}}
{{- $name := include "tidegate.name" . -}}
{{- $usual := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $usual .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "tidegate.componentName" -}}
{{- printf "%s-%s" (include "tidegate.fullname" .root) .component -}}
{{- end }}

{{/* The DNS name of a Service, whatever the cluster's domain is. `service`: its name's last part. */}}
{{- define "tidegate.host" -}}
{{- printf "%s-%s.%s.svc" (include "tidegate.fullname" .root) .service .root.Release.Namespace -}}
{{- end }}

{{/* What never changes, for a selector cannot. */}}
{{- define "tidegate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tidegate.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selectorLabels" . }}
app.kubernetes.io/part-of: tidegate
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* `suffix` (optional) follows the component's name. */}}
{{- define "tidegate.metadata" -}}
name: {{ include "tidegate.componentName" . }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "tidegate.labels" . | nindent 2 }}
{{- end }}

{{/* With both, the digest rules and the tag is for people's eyes. */}}
{{- define "tidegate.image" -}}
{{- $image := .Values.image -}}
{{- with $image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ $image.repository -}}
{{- if or $image.tag (not $image.digest) }}:{{ default .Chart.AppVersion $image.tag }}{{ end -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* A component's values with the defaults under them, as YAML: maps merged, all else replaced. */}}
{{- define "tidegate.values" -}}
{{- $all := .root.Values -}}
{{- $own := ternary $all.cache.qdrant.bundled (index $all .component) (eq .component "qdrant") -}}
{{- mergeOverwrite (deepCopy $all.defaults) (deepCopy $own) | toYaml -}}
{{- end }}

{{/* A value as the text of an environment variable: Helm reads every number as a float. */}}
{{- define "tidegate.scalar" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end }}

{{/* The ports that a list of URLs names, as a JSON list; `default` where it names none. */}}
{{- define "tidegate.portsOf" -}}
{{- $ports := list -}}
{{- range regexFindAll ":[0-9]{2,5}(,|/|$)" .urls -1 -}}
{{- $ports = append $ports (regexFind "[0-9]+" . | int) -}}
{{- end -}}
{{- default (list .default) ($ports | uniq) | toJson -}}
{{- end }}
