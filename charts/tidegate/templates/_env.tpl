{{/*
The environment of the services. Each piece is a YAML map, so that no variable can stand twice: what
the chart sets itself can be set neither by `settings` nor by `extraEnv`, which would only hide where a
value comes from.
*/}}

{{/* The list for a container: `env` and what all services have, `settings`, then `extraEnv`. */}}
{{- define "tidegate.environment" -}}
{{- $own := merge (fromYaml .env) (include "tidegate.drainEnv" . | fromYaml) -}}
{{- range $name, $_ := .values.settings }}
{{- if hasKey $own $name }}
{{- fail (printf "settings of %s: the chart sets %s itself; use the value for it." $.component $name) }}
{{- end }}
{{- end }}
{{- $all := merge $own (default dict .values.settings) }}
{{- range $name, $value := $all }}
- {name: {{ $name }}, value: {{ include "tidegate.scalar" $value | quote }}}
{{- end }}
{{- include "tidegate.extraEnv" (merge (dict "taken" (keys $all)) .) }}
{{- end }}

{{/* `extraEnv`, beside the names `taken`. Server-side apply, which Helm 4 uses, refuses a name twice. */}}
{{- define "tidegate.extraEnv" -}}
{{- $taken := .taken -}}
{{- range .values.extraEnv }}
{{- if has .name $taken }}
{{- fail (printf "extraEnv of %s: %s is set already, by the chart, by settings or by extraEnv itself; say it in one place, settings where there is no value for it." $.component .name) }}
{{- end }}
{{- $taken = append $taken .name }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Nothing where `values` has no `drainSeconds`: that of workers may be a pool's to say. */}}
{{- define "tidegate.drainEnv" -}}
{{- with .values.drainSeconds }}
TIDEGATE_DRAIN_SECONDS: {{ . | quote }}
{{- end }}
{{- with .values.drainNoticeSeconds }}
TIDEGATE_DRAIN_NOTICE_SECONDS: {{ . | quote }}
{{- end }}
{{- end }}

{{/*
The servers by name where there are three: one that is gone is passed over at once, while a Service
leads to the node that was lost until the cluster has noticed.
*/}}
{{- define "tidegate.natsUrl" -}}
{{- $nats := .Values.nats -}}
{{- $scheme := ternary "tls" "nats" (ne $nats.tls.existingSecret "") -}}
{{- if eq $nats.mode "external" -}}
{{- $nats.external.url -}}
{{- else if eq (int $nats.replicas) 1 -}}
{{- printf "%s://%s:4222" $scheme (include "tidegate.host" (dict "root" . "service" "nats")) -}}
{{- else -}}
{{- $urls := list -}}
{{- range include "tidegate.natsServers" . | fromJsonArray -}}
{{- $urls = append $urls (printf "%s://%s:4222" $scheme .) -}}
{{- end -}}
{{- join "," $urls -}}
{{- end -}}
{{- end }}

{{/* The names of the bundled servers, as a JSON list. */}}
{{- define "tidegate.natsServers" -}}
{{- $servers := list -}}
{{- range until (int .Values.nats.replicas) -}}
{{- $host := include "tidegate.host" (dict "root" $ "service" "nats-headless") -}}
{{- $servers = append $servers (printf "%s-nats-%d.%s" (include "tidegate.fullname" $) . $host) -}}
{{- end -}}
{{- toJson $servers -}}
{{- end }}

{{/* Every service but the simulator is a user of NATS, of the service's name. */}}
{{- define "tidegate.natsEnv" -}}
TIDEGATE_NATS_URL: {{ include "tidegate.natsUrl" .root | quote }}
{{- if include "tidegate.secretOf" (dict "root" .root "key" (printf "nats-%s" .component)) }}
TIDEGATE_NATS_USER: {{ .component }}
TIDEGATE_NATS_PASSWORD_FILE: /etc/tidegate/secrets/nats-{{ .component }}
{{- end }}
{{- if include "tidegate.natsCaSecret" .root }}
TIDEGATE_NATS_TLS_CA_FILE: /etc/tidegate/nats-ca/ca.crt
{{- end }}
{{- end }}

{{/* Of those who ask the cache. */}}
{{- define "tidegate.cacheClientEnv" -}}
{{- if .root.Values.cache.enabled }}
TIDEGATE_CACHE_TARGET: {{ include "tidegate.host" (dict "root" .root "service" "cache-headless") }}:50052
TIDEGATE_CACHE_KEY_FILE: /etc/tidegate/secrets/cache-key
{{- end }}
{{- end }}

{{/* A public address: the value, or that of the surface's ingress, or the Service's. */}}
{{- define "tidegate.publicGrpc" -}}
{{- $ingress := .Values.ingress -}}
{{- if .Values.public.grpc -}}
{{- .Values.public.grpc -}}
{{- else if and $ingress.enabled $ingress.grpc.host -}}
{{- printf "%s:%d" $ingress.grpc.host (ternary 443 80 (ne $ingress.grpc.tlsSecret "")) -}}
{{- else -}}
{{- printf "%s:50051" (include "tidegate.host" (dict "root" . "service" "gateway")) -}}
{{- end -}}
{{- end }}

{{- define "tidegate.publicSse" -}}
{{- $ingress := .Values.ingress -}}
{{- if .Values.public.sseUrl -}}
{{- .Values.public.sseUrl -}}
{{- else if and $ingress.enabled $ingress.sse.host -}}
{{- printf "%s://%s" (ternary "https" "http" (ne $ingress.sse.tlsSecret "")) $ingress.sse.host -}}
{{- else -}}
{{- printf "http://%s:8082" (include "tidegate.host" (dict "root" . "service" "streaming")) -}}
{{- end -}}
{{- end }}

{{- define "tidegate.publicWebsocket" -}}
{{- $ingress := .Values.ingress -}}
{{- if .Values.public.websocketUrl -}}
{{- .Values.public.websocketUrl -}}
{{- else if and $ingress.enabled $ingress.websocket.host -}}
{{- printf "%s://%s/v1/ws" (ternary "wss" "ws" (ne $ingress.websocket.tlsSecret "")) $ingress.websocket.host -}}
{{- else -}}
{{- printf "ws://%s:8081/v1/ws" (include "tidegate.host" (dict "root" . "service" "streaming")) -}}
{{- end -}}
{{- end }}
