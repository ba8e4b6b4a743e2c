{{/*
All that the operator may do in the Kubernetes API, and why. It deletes nothing: what it made goes with its
pool, by owner references. It puts no finalizers on anything, and reads no Secret.
*/}}

{{/* Where pools are: in the release's namespace, or in all. */}}
{{- define "tidegate.operatorRules" -}}
{{- /* Pools are followed. */ -}}
- apiGroups: [tidegate.dev]
  resources: [workerpools]
  verbs: [get, list, watch]
{{- /* What it decided, and why. */}}
- apiGroups: [tidegate.dev]
  resources: [workerpools/status]
  verbs: [patch]
{{- /* Each pool's Deployment is made and kept by server-side apply, and watched for what others do to it. */}}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
{{- /* Likewise its disruption budget. */}}
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch]
{{- /* A Deployment that an autoscaler has as well is left alone. */}}
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch]
{{- /* The deletion cost of workers: idle ones go first. A right to patch cannot be narrowed down to an annotation. */}}
- apiGroups: [""]
  resources: [pods]
  verbs: [patch]
{{- /* One for each change, on the pool. */}}
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* In the release's namespace alone. */}}
{{- define "tidegate.operatorOwnRules" -}}
{{- $name := include "tidegate.componentName" (dict "root" . "component" "operator") -}}
{{- /* Which of the replicas leads. A right to create cannot be narrowed down to a name. */ -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ $name }}]
  verbs: [get, update]
{{- /* What the chart's pools belong to: its uid is asked for. */}}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ $name }}]
  verbs: [get]
{{- with include "tidegate.pools" . | fromJson | keys | sortAlpha }}
{{- /* The chart's pools, by server-side apply: that names one where it has yet to be made, too. */}}
- apiGroups: [tidegate.dev]
  resources: [workerpools]
  resourceNames: {{ toJson . }}
  verbs: [create, patch]
{{- end }}
{{- end }}
