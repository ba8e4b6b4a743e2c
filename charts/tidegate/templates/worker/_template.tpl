{{/*
What the pods of workers are made of, in one place: for Helm's own Deployment, and for the operator, which
makes the pods of every pool of it. There it is the pool that says how long a pod drains.
*/}}

{{- define "tidegate.workerTemplate" -}}
{{- $values := include "tidegate.values" (dict "root" . "component" "worker") | fromYaml -}}
{{- $values = ternary (omit $values "drainSeconds") $values .Values.operator.enabled -}}
{{- $worker := dict "root" . "component" "worker" "values" $values -}}
{{- include "tidegate.podTemplate" (merge (dict
      "command" (list "tidegate" "worker")
      "env" (include "tidegate.workerEnv" $worker)
      "port" "health"
      "ports" (dict "health" 9102)
      "keys" (concat (list "nats-worker") (ternary (list "cache-key") (list) .Values.cache.enabled))
      "mounts" (list "nats-ca" "routes" "providers")
    ) $worker) -}}
{{- end }}

{{- define "tidegate.workerEnv" -}}
TIDEGATE_HEALTH_LISTEN: ":9102"
TIDEGATE_ROUTES_FILE: /etc/tidegate/routes/routes.yaml
{{ include "tidegate.natsEnv" . }}
{{- include "tidegate.cacheClientEnv" . }}
{{- end }}

{{/* The pool that the operator makes where it is missing. Nothing here says how many replicas it has. */}}
{{- define "tidegate.defaultPool" -}}
{{- $pool := .Values.worker.pool -}}
{{- $spec := omit $pool "create" "scaling" "limits" -}}
{{- $_ := set $spec "drainSeconds" (.Values.worker.drainSeconds | float64 | ceil | int) -}}
{{- range $group := list "scaling" "limits" -}}
{{- with index $pool $group -}}
{{- $_ := set $spec $group . -}}
{{- end -}}
{{- end -}}
apiVersion: tidegate.dev/v1alpha1
kind: WorkerPool
metadata:
  name: {{ include "tidegate.componentName" (dict "root" . "component" "worker") }}
spec:
  {{- toYaml $spec | nindent 2 }}
{{- end }}
