{{/*
The pieces of network policies. Kubelets' probes need no rule: what comes from a pod's own node is
always let in.
*/}}

{{/* Peers that are pods of these `components`, as a list. */}}
{{- define "tidegate.peers" -}}
{{- range .components }}
- podSelector:
    matchLabels:
      {{- include "tidegate.selectorLabels" (dict "root" $.root "component" .) | nindent 6 }}
{{- end }}
{{- end }}

{{/* TCP `ports` as a list. */}}
{{- define "tidegate.tcpPorts" -}}
{{- range .ports }}
- {protocol: TCP, port: {{ . }}}
{{- end }}
{{- end }}

{{/* `components` may call, or be called, on `ports`. `way`: from or to. */}}
{{- define "tidegate.between" -}}
- {{ .way }}:
    {{- include "tidegate.peers" . | nindent 4 }}
  ports:
    {{- include "tidegate.tcpPorts" . | nindent 4 }}
{{- end }}

{{/* `peers` of the values, or anyone where there are none, on `ports`. */}}
{{- define "tidegate.given" -}}
- ports:
    {{- include "tidegate.tcpPorts" . | nindent 4 }}
  {{- with .peers }}
  {{ $.way }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "tidegate.toDns" -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{- define "tidegate.toNats" -}}
{{- $nats := .root.Values.nats -}}
{{- if eq $nats.mode "bundled" -}}
{{ include "tidegate.between" (dict "root" .root "way" "to" "components" (list "nats") "ports" (list 4222)) }}
{{- else -}}
{{- $ports := include "tidegate.portsOf" (dict "urls" $nats.external.url "default" 4222) | fromJsonArray -}}
{{ include "tidegate.given" (dict "way" "to" "peers" list "ports" $ports) }}
{{- end -}}
{{- end }}

{{/* Models: providers wherever they are, and the simulator. */}}
{{- define "tidegate.toModels" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{ include "tidegate.given" (dict "way" "to" "peers" $policy.providers "ports" $policy.providerPorts) }}
{{- if include "tidegate.simulator" .root }}
{{ include "tidegate.between" (dict "root" .root "way" "to" "components" (list "simulator") "ports" (list 8090)) }}
{{- end }}
{{- end }}

{{- define "tidegate.toCache" -}}
{{- if .root.Values.cache.enabled }}
{{ include "tidegate.between" (dict "root" .root "way" "to" "components" (list "cache") "ports" (list 50052)) }}
{{- end }}
{{- end }}

{{- define "tidegate.toQdrant" -}}
{{- $cache := .root.Values.cache -}}
{{- if $cache.qdrant.bundled.enabled }}
{{ include "tidegate.between" (dict "root" .root "way" "to" "components" (list "qdrant") "ports" (list 6333)) }}
{{- else if eq $cache.store "qdrant" }}
{{- $ports := include "tidegate.portsOf" (dict "urls" $cache.qdrant.url "default" 6333) | fromJsonArray }}
{{ include "tidegate.given" (dict "way" "to" "peers" list "ports" $ports) }}
{{- end }}
{{- end }}

{{- define "tidegate.fromMetrics" -}}
{{ include "tidegate.given" (dict "way" "from" "peers" .root.Values.networkPolicy.metrics "ports" (list .port)) }}
{{- end }}

{{/* Clients and the test's pod, which stands in none of their lists. */}}
{{- define "tidegate.fromClients" -}}
{{ include "tidegate.given" (dict "way" "from" "peers" .root.Values.networkPolicy.clients "ports" .ports) }}
{{ include "tidegate.between" (dict "root" .root "way" "from" "components" (list "test") "ports" .ports) }}
{{- end }}

{{/* A policy of `component`. `ingress` and `egress` are rules as YAML; empty: none. */}}
{{- define "tidegate.policy" -}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "tidegate.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "tidegate.selectorLabels" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- with .ingress }}
  ingress:
    {{- . | nindent 4 }}
  {{- end }}
  egress:
    {{- include "tidegate.toDns" . | nindent 4 }}
    {{- with .egress }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .root.Values.networkPolicy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
