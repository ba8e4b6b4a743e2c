{{/*
The pools that the chart has made, one for each queue that its values name: each is a WorkerPool of its own,
made of `worker.pool`.
*/}}

{{/* Those queues, as a JSON list. What a ConfigMap of the user's names only the cluster knows. */}}
{{- define "tidegate.queues" -}}
{{- $queues := list -}}
{{- range $name, $route := .Values.routes.models -}}
{{- if ne (default "chat" $route.kind) "embeddings" -}}
{{- $queues = append $queues (default "" $route.queue | toString) -}}
{{- end -}}
{{- end -}}
{{- $own := ternary (list) (list .Values.worker.pool.queue) (not (empty .Values.routes)) -}}
{{- without (concat $own $queues | uniq | sortAlpha) "" | toJson -}}
{{- end }}

{{/*
What the pool of a queue is called, whatever other queues there are. At most 57 characters, so that the name
of a pod begins with the whole of it.
*/}}
{{- define "tidegate.poolName" -}}
{{- $worker := include "tidegate.componentName" (dict "root" .root "component" "worker") -}}
{{- $whole := printf "%s-%s" $worker (.queue | replace "_" "-") -}}
{{- if eq .queue .root.Values.worker.pool.queue -}}
{{- $worker -}}
{{- else if or (gt (len $whole) 57) (hasSuffix "-" $whole) -}}
{{- printf "%s-%s" ($whole | trunc 48 | trimAll "-") (.queue | sha256sum | trunc 8) -}}
{{- else -}}
{{- $whole -}}
{{- end -}}
{{- end }}

{{/* Which pools there are, as a JSON map of their names to their queues. */}}
{{- define "tidegate.pools" -}}
{{- $pools := dict -}}
{{- if and .Values.operator.enabled .Values.worker.pool.create -}}
{{- range $queue := include "tidegate.queues" . | fromJsonArray -}}
{{- $_ := set $pools (include "tidegate.poolName" (dict "root" $ "queue" $queue)) $queue -}}
{{- end -}}
{{- end -}}
{{- toJson $pools -}}
{{- end }}

{{/* They themselves, as a YAML list. Nothing here says how many replicas one has. */}}
{{- define "tidegate.poolManifests" -}}
{{- $pool := .Values.worker.pool -}}
{{- $spec := omit $pool "create" "queue" "scaling" "limits" -}}
{{- $_ := set $spec "drainSeconds" (.Values.worker.drainSeconds | float64 | ceil | int) -}}
{{- range $group := list "scaling" "limits" -}}
{{- with index $pool $group -}}
{{- $_ := set $spec $group . -}}
{{- end -}}
{{- end -}}
{{- range $name, $queue := include "tidegate.pools" . | fromJson }}
- apiVersion: tidegate.dev/v1alpha1
  kind: WorkerPool
  metadata:
    name: {{ $name }}
  spec:
    queue: {{ $queue | quote }}
    {{- toYaml $spec | nindent 4 }}
{{- end }}
{{- end }}

{{/* The pools in the cluster that the chart had made once, and has made no more: their names. */}}
{{- define "tidegate.poolsLeftOver" -}}
{{- $owner := include "tidegate.componentName" (dict "root" . "component" "operator") -}}
{{- $pools := include "tidegate.pools" . | fromJson -}}
{{- $left := list -}}
{{- if .Capabilities.APIVersions.Has "tidegate.dev/v1alpha1" -}}
{{- range $pool := (lookup "tidegate.dev/v1alpha1" "WorkerPool" .Release.Namespace "").items -}}
{{- range default list $pool.metadata.ownerReferences -}}
{{- if and (eq .kind "ConfigMap") (eq .name $owner) (not (hasKey $pools $pool.metadata.name)) -}}
{{- $left = append $left $pool.metadata.name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join " " $left -}}
{{- end }}
