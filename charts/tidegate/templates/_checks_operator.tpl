{{/*
What no schema can see of the operator and of workers: values that only one of its two ways has, and what
is in the cluster.
*/}}

{{- define "tidegate.checkOperator" -}}
{{- if .Values.operator.enabled -}}
{{- include "tidegate.checkOperatorSecret" . -}}
{{- include "tidegate.checkOperatorNamespaces" . -}}
{{- include "tidegate.checkPool" . -}}
{{- include "tidegate.checkQueues" . -}}
{{- include "tidegate.checkPoolsInCluster" . -}}
{{- include "tidegate.checkAutoscalers" . -}}
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

{{/* Its rights are those of the chart: elsewhere it would see nothing, and say so in its log alone. */}}
{{- define "tidegate.checkOperatorNamespaces" -}}
{{- $own := include "tidegate.values" (dict "root" . "component" "operator") | fromYaml -}}
{{- $given := default dict $own.settings | keys -}}
{{- range $own.extraEnv -}}
{{- $given = append $given .name -}}
{{- end -}}
{{- if and (has "TIDEGATE_OPERATOR_NAMESPACES" $given) .Values.operator.serviceAccount.create (not .Values.operator.clusterWide) -}}
{{- fail "settings of operator: TIDEGATE_OPERATOR_NAMESPACES names namespaces where the chart's account has no rights: use operator.clusterWide, or bring an account that has them and set operator.serviceAccount.create to false." -}}
{{- end -}}
{{- end }}

{{/* What no pool could be made of: the operator would not start with it. */}}
{{- define "tidegate.checkQueues" -}}
{{- $named := dict -}}
{{- if .Values.worker.pool.create -}}
{{- range $queue := include "tidegate.queues" . | fromJsonArray -}}
{{- if not (regexMatch "^[a-z0-9][a-z0-9_-]{0,62}$" $queue) -}}
{{- fail (printf "routes.models names the queue %s: the name of a queue is 1 to 63 of a-z, 0-9, '-' and '_', and begins with a letter or a digit." $queue) -}}
{{- end -}}
{{- $name := include "tidegate.poolName" (dict "root" $ "queue" $queue) -}}
{{- if hasKey $named $name -}}
{{- fail (printf "routes.models names the queues %s and %s, whose pools would both be called %s: give one of the queues another name, or set worker.pool.create to false and make the pools yourself." (get $named $name) $queue $name) -}}
{{- end -}}
{{- $_ := set $named $name $queue -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A pool's queue cannot be changed, and that the operator could not do so would stand in its log alone. */}}
{{- define "tidegate.checkPoolsInCluster" -}}
{{- if .Capabilities.APIVersions.Has "tidegate.dev/v1alpha1" -}}
{{- range $name, $queue := include "tidegate.pools" . | fromJson -}}
{{- $there := default dict (lookup "tidegate.dev/v1alpha1" "WorkerPool" $.Release.Namespace $name) -}}
{{- $before := dig "spec" "queue" $queue $there -}}
{{- if ne $before $queue -}}
{{- fail (printf "the pool %s serves the queue %s, and a pool's queue cannot be changed to %s: keep worker.pool.queue as it was, or first let the pool go: kubectl -n %s delete workerpool %s" $name $before $queue $.Release.Namespace $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Such as one from before the operator: the number of pods would be the autoscaler's to say, and never 0. */}}
{{- define "tidegate.checkAutoscalers" -}}
{{- $pools := include "tidegate.pools" . | fromJson -}}
{{- $there := ternary (lookup "autoscaling/v2" "HorizontalPodAutoscaler" .Release.Namespace "") dict (not (empty $pools)) -}}
{{- range (default dict $there).items -}}
{{- $target := .spec.scaleTargetRef -}}
{{- if and (eq $target.kind "Deployment") (hasKey $pools $target.name) -}}
{{- fail (printf "the HorizontalPodAutoscaler %s scales the Deployment %s, whose replicas the operator decides. Take it away (with what made it, such as a ScaledObject of KEDA), and say with worker.pool.minReplicas and worker.pool.maxReplicas what it said: kubectl -n %s delete hpa %s\nTo keep it, set operator.enabled to false." .metadata.name $target.name $.Release.Namespace .metadata.name) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Helm's Deployment would have the name, and not the selector, of the one that the operator made. */}}
{{- define "tidegate.checkNoPool" -}}
{{- $name := include "tidegate.componentName" (dict "root" . "component" "worker") -}}
{{- $there := default dict (lookup "apps/v1" "Deployment" .Release.Namespace $name) -}}
{{- if eq (dig "metadata" "labels" "app.kubernetes.io/managed-by" "" $there) "tidegate-operator" -}}
{{- fail (printf "operator.enabled is false, and the workers are still the operator's. First set operator.replicas to 0, then let its pools go (kubectl -n %s get workerpools), this one at least: kubectl -n %s delete workerpool %s. Jobs wait until Helm's own workers are there." .Release.Namespace .Release.Namespace $name) -}}
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
