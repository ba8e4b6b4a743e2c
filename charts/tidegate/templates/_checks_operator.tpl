{{/*
What no schema can see of the operator and of workers: values that only one of its two ways has, and what
is in the cluster.
*/}}

{{- define "tidegate.checkOperator" -}}
{{- if .Values.operator.enabled -}}
{{- include "tidegate.checkOperatorSecret" . -}}
{{- include "tidegate.checkPool" . -}}
{{- include "tidegate.checkPoolInCluster" . -}}
{{- include "tidegate.checkWorkerSettings" . -}}
{{- else -}}
{{- include "tidegate.checkNoPool" . -}}
{{- end -}}
{{- end }}

{{- define "tidegate.checkPool" -}}
{{- $worker := .Values.worker -}}
{{- if gt (int $worker.pool.minReplicas) (int $worker.pool.maxReplicas) -}}
{{- fail "worker.pool.minReplicas is more than worker.pool.maxReplicas." -}}
{{- end -}}
{{- if and (hasKey $worker "replicas") (ne (int $worker.replicas) 1) -}}
{{- fail "worker.replicas is for operator.enabled=false: the operator decides how many there are, between worker.pool.minReplicas and worker.pool.maxReplicas. Set those, and take worker.replicas out." -}}
{{- end -}}
{{- if hasKey $worker "podDisruptionBudget" -}}
{{- fail "worker.podDisruptionBudget is for operator.enabled=false: the operator makes each pool's budget. Take it out." -}}
{{- end -}}
{{- end }}

{{/* What each pool says for itself would hold for none where the template said it too. */}}
{{- define "tidegate.checkWorkerSettings" -}}
{{- $own := include "tidegate.values" (dict "root" . "component" "worker") | fromYaml -}}
{{- $given := default dict $own.settings | keys -}}
{{- range $own.extraEnv -}}
{{- $given = append $given .name -}}
{{- end -}}
{{- $values := dict
      "TIDEGATE_WORKER_CONCURRENCY" "worker.pool.concurrency"
      "TIDEGATE_QUEUES" "worker.pool.queue"
      "TIDEGATE_DRAIN_SECONDS" "worker.drainSeconds" -}}
{{- range $name, $value := $values -}}
{{- if has $name $given -}}
{{- fail (printf "settings of worker: %s is what each pool says for itself; use %s." $name $value) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A pool's queue cannot be changed, and that the operator could not do so would stand in its log alone. */}}
{{- define "tidegate.checkPoolInCluster" -}}
{{- if .Capabilities.APIVersions.Has "tidegate.dev/v1alpha1" -}}
{{- $pool := .Values.worker.pool -}}
{{- $name := include "tidegate.componentName" (dict "root" . "component" "worker") -}}
{{- $there := default dict (lookup "tidegate.dev/v1alpha1" "WorkerPool" .Release.Namespace $name) -}}
{{- $before := dig "spec" "queue" $pool.queue $there -}}
{{- if and $pool.create (ne $before $pool.queue) -}}
{{- fail (printf "worker.pool.queue is %s, and a pool's queue cannot be changed to %s: keep it, and make a WorkerPool of your own for the other." $before $pool.queue) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Helm's Deployment would have the name, and not the selector, of the one that the operator made. */}}
{{- define "tidegate.checkNoPool" -}}
{{- $name := include "tidegate.componentName" (dict "root" . "component" "worker") -}}
{{- $there := default dict (lookup "apps/v1" "Deployment" .Release.Namespace $name) -}}
{{- if eq (dig "metadata" "labels" "app.kubernetes.io/managed-by" "" $there) "tidegate-operator" -}}
{{- fail (printf "operator.enabled is false, and the workers are still the operator's. First set operator.replicas to 0, then let the pool go: kubectl -n %s delete workerpool %s. Jobs wait until Helm's own workers are there." .Release.Namespace $name) -}}
{{- end -}}
{{- end }}

{{/* Pods of NATS, too, would wait for the key that a Secret from before the operator does not have. */}}
{{- define "tidegate.checkOperatorSecret" -}}
{{- $name := include "tidegate.secretOf" (dict "root" . "key" "nats-operator") -}}
{{- if and $name (ne $name (include "tidegate.madeSecret" .)) -}}
{{- $there := default dict (lookup "v1" "Secret" .Release.Namespace $name) -}}
{{- if and $there (not (hasKey (default dict $there.data) "nats-operator")) -}}
{{- fail (printf "the Secret %s lacks nats-operator, the operator's NATS password: add it first." $name) -}}
{{- end -}}
{{- end -}}
{{- end }}
