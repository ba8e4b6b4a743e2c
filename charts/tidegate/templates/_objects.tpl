{{/*
Whole objects that every component has. Each begins with `---`, or is nothing.
*/}}

{{- define "tidegate.serviceAccountName" -}}
{{- $account := .values.serviceAccount -}}
{{- default (ternary (include "tidegate.componentName" .) "default" $account.create) $account.name -}}
{{- end }}

{{- define "tidegate.serviceAccount" -}}
{{- if .values.serviceAccount.create }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "tidegate.serviceAccountName" . | quote }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels:
    {{- include "tidegate.labels" . | nindent 4 }}
  {{- with .values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end }}

{{/* For one pod it would only stop nodes from being drained. */}}
{{- define "tidegate.disruptionBudget" -}}
{{- $several := or (not (hasKey .values "replicas")) (gt (int (default 0 .values.replicas)) 1) -}}
{{- if and .values.podDisruptionBudget.enabled $several }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "tidegate.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .values.podDisruptionBudget.maxUnavailable }}
  {{- if ne .component "nats" }}
  {{- /* A pod that is not ready serves nobody, and must not keep a node from being drained. */}}
  unhealthyPodEvictionPolicy: AlwaysAllow
  {{- end }}
  selector:
    matchLabels:
      {{- include "tidegate.selectorLabels" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* What belongs to a component beside its workload and its Services. */}}
{{- define "tidegate.companions" -}}
{{- include "tidegate.serviceAccount" . }}
{{- include "tidegate.disruptionBudget" . }}
{{- end }}

{{/* A headless Service: every pod's address, for clients that spread their calls themselves. */}}
{{- define "tidegate.headless" -}}
---
apiVersion: v1
kind: Service
metadata:
  {{- include "tidegate.metadata" (dict "root" .root "component" .component "suffix" "headless") | nindent 2 }}
spec:
  clusterIP: None
  {{- if .early }}
  publishNotReadyAddresses: true
  {{- end }}
  selector:
    {{- include "tidegate.selectorLabels" . | nindent 4 }}
  ports:
    {{- toYaml .ports | nindent 4 }}
{{- end }}
