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
