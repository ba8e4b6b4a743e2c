{{/*
The skeleton that all pods share, and the whole template of a service's pods.
*/}}

{{/* Everything of a pod's spec but what is in it. `token`: whether it is to reach the Kubernetes API. */}}
{{- define "tidegate.podBasics" -}}
{{- $selector := dict "root" .root "component" .component -}}
serviceAccountName: {{ include "tidegate.serviceAccountName" . | quote }}
automountServiceAccountToken: {{ default false .token }}
{{- /* A Service called tidegate-gateway would otherwise set TIDEGATE_GATEWAY_PORT in every pod. */}}
enableServiceLinks: false
securityContext:
  {{- toYaml .values.podSecurityContext | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- if eq .component "nats" }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "tidegate.selectorLabels" $selector | nindent 14 }}
{{- end }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml . | nindent 4 | trim }}
    {{- if not (hasKey . "labelSelector") }}
    labelSelector:
      matchLabels:
        {{- include "tidegate.selectorLabels" $selector | nindent 8 }}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "tidegate.podMetadata" -}}
labels:
  {{- include "tidegate.selectorLabels" . | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The image and the security of a container that runs the project's image. */}}
{{- define "tidegate.containerBasics" -}}
image: {{ include "tidegate.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .values.securityContext | nindent 2 }}
{{- with .values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* `port` is where /livez and /readyz are. */}}
{{- define "tidegate.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: {{ .port }}}
  {{- toYaml .values.probes.startup | nindent 2 }}
livenessProbe:
  httpGet: {path: /livez, port: {{ .port }}}
  {{- toYaml .values.probes.liveness | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: {{ .port }}}
  {{- toYaml .values.probes.readiness | nindent 2 }}
{{- end }}

{{/*
The template of a service's pods.

`command`: what it runs. `env`: its variables, as a YAML map. `ports`: a map of names to numbers.
`port`: the name of the one with the probes. `keys`: those of the platform's secrets that it needs.
`mounts`: which of the shared volumes, by name (see `tidegate.volumes`). `more`: volumes, as YAML.
*/}}
{{- define "tidegate.podTemplate" -}}
metadata:
  {{- include "tidegate.podMetadata" . | nindent 2 }}
spec:
  {{- include "tidegate.podBasics" . | nindent 2 }}
  {{- with .values.drainSeconds }}
  terminationGracePeriodSeconds: {{ add (int .) 10 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      {{- $reloader := list "python3" "/etc/tidegate/reload/reload.py" }}
      command: {{ concat (ternary $reloader (list) .root.Values.development.reload) .command | toJson }}
      env:
        {{- include "tidegate.environment" . | trim | nindent 8 }}
      ports:
        {{- range $name, $number := .ports }}
        - {name: {{ $name }}, containerPort: {{ $number }}}
        {{- end }}
      {{- include "tidegate.containerBasics" . | nindent 6 }}
      {{- include "tidegate.probes" . | nindent 6 }}
      volumeMounts:
        {{- include "tidegate.mounts" . | nindent 8 }}
  volumes:
    {{- include "tidegate.volumes" . | nindent 4 }}
{{- end }}

{{/* The spec of a Deployment of a service, up to its template. */}}
{{- define "tidegate.deploymentSpec" -}}
{{- if hasKey .values "replicas" -}}
replicas: {{ .values.replicas }}
{{ end -}}
revisionHistoryLimit: 3
strategy:
  rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
selector:
  matchLabels:
    {{- include "tidegate.selectorLabels" . | nindent 4 }}
{{- end }}
