{{/*
Where models are answered. `tidegate.model` names what was chosen: `own` (routes or existingRoutes),
`provider`, or `simulator`.
*/}}

{{/* Whether `provider` is given; empty if not. */}}
{{- define "tidegate.hasProvider" -}}
{{- $provider := .Values.provider -}}
{{- $elsewhere := ne $provider.baseUrl "https://api.openai.com/v1" -}}
{{- if or $provider.existingSecret $provider.models $provider.embeddingModels $elsewhere -}}yes{{- end -}}
{{- end }}

{{- define "tidegate.model" -}}
{{- $values := .Values -}}
{{- if or $values.routes $values.existingRoutes.configMap -}}
own
{{- else if include "tidegate.hasProvider" . -}}
provider
{{- else -}}
simulator
{{- end -}}
{{- end }}

{{/* Whether the simulator is deployed; empty if not. */}}
{{- define "tidegate.simulator" -}}
{{- $enabled := toString .Values.simulator.enabled -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (eq (include "tidegate.model" .) "simulator")) -}}
yes
{{- end -}}
{{- end }}

{{/* One model's entry in a generated file. `kind`: chat or embeddings; `queue` is for chat. */}}
{{- define "tidegate.route" -}}
{{ .model | quote }}:
  {{- if eq .kind "chat" }}
  queue: {{ .queue | quote }}
  {{- else }}
  kind: embeddings
  {{- end }}
  targets: [{provider: {{ .provider | quote }}}]
{{- end }}

{{/* The routes file, of whichever values it is made. */}}
{{- define "tidegate.routesText" -}}
{{- if .Values.routes -}}
{{- toYaml .Values.routes -}}
{{- else -}}
{{- include "tidegate.routesFile" . -}}
{{- end -}}
{{- end }}

{{- define "tidegate.routesSuffix" -}}
{{- include "tidegate.routesText" . | sha256sum | trunc 8 -}}
{{- end }}

{{- define "tidegate.routesFile" -}}
{{- $provider := .Values.provider -}}
{{- $name := $provider.name -}}
{{- $url := $provider.baseUrl -}}
{{- $chats := $provider.models -}}
{{- $embeds := $provider.embeddingModels -}}
{{- if eq (include "tidegate.model" .) "simulator" -}}
{{- $name = "simulator" -}}
{{- $url = printf "http://%s:8090/v1" (include "tidegate.host" (dict "root" . "service" "simulator")) -}}
{{- $chats = list "sim-small" "sim-large" -}}
{{- $embeds = list "sim-embedding" -}}
{{- end -}}
# Written by the chart; `routes` or `existingRoutes` replace it.
providers:
  {{ $name | quote }}:
    base_url: {{ $url | quote }}
    {{- if $provider.existingSecret }}
    api_key_file: /etc/tidegate/provider/api-key
    {{- end }}
models:
  {{- range $chats }}
  {{- include "tidegate.route" (dict "model" . "kind" "chat" "provider" $name "queue" $.Values.worker.pool.queue) | nindent 2 }}
  {{- end }}
  {{- range $embeds }}
  {{- include "tidegate.route" (dict "model" . "kind" "embeddings" "provider" $name) | nindent 2 }}
  {{- end }}
{{- end }}

{{/* A model that chats, for the notes; empty where only the cluster knows. */}}
{{- define "tidegate.someModel" -}}
{{- $model := include "tidegate.model" . -}}
{{- if eq $model "simulator" -}}
sim-small
{{- else if eq $model "provider" -}}
{{- first .Values.provider.models -}}
{{- else -}}
{{- range $name, $route := .Values.routes.models -}}
{{- if ne (default "chat" $route.kind) "embeddings" }}{{ $name }}{{ break }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}
