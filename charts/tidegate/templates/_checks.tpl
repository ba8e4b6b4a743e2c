{{/*
What no schema can see: values that contradict each other. Each message says what to do; it is the
first line that the user reads.
*/}}

{{- define "tidegate.checks" -}}
{{- include "tidegate.checkNames" . -}}
{{- include "tidegate.checkNats" . -}}
{{- include "tidegate.checkCache" . -}}
{{- include "tidegate.checkOperator" . -}}
{{- include "tidegate.checkModels" . -}}
{{- include "tidegate.checkIngress" . -}}
{{- range $name := list "gateway" "worker" "streaming" "cache" "simulator" -}}
{{- $own := index $.Values $name -}}
{{- if ge (float64 (default 0 $own.drainNoticeSeconds)) (float64 $own.drainSeconds) -}}
{{- fail (printf "%s.drainNoticeSeconds is a part of %s.drainSeconds: make it smaller." $name $name) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tidegate.checkNats" -}}
{{- $nats := .Values.nats -}}
{{- if and (eq $nats.mode "external") (not $nats.external.url) -}}
{{- fail "nats.mode is external: say where it is with nats.external.url, such as nats://nats.example.com:4222." -}}
{{- end -}}
{{- if and (eq $nats.mode "bundled") $nats.external.url -}}
{{- fail "nats.external.url is given, and nats.mode is bundled: set nats.mode to external, or take the URL out." -}}
{{- end -}}
{{- if and (eq $nats.mode "external") $nats.tls.existingSecret -}}
{{- fail "nats.tls is for the bundled servers: for external ones give nats.external.tls.caSecret." -}}
{{- end -}}
{{- include "tidegate.checkNatsSize" . -}}
{{- end }}

{{/*
A cluster takes the streams of a server that was alone for orphans and deletes them:
https://github.com/nats-io/nats-server/issues/5467. Without a cluster to ask, nothing is found.
*/}}
{{- define "tidegate.checkNatsSize" -}}
{{- $nats := .Values.nats -}}
{{- $name := printf "%s-nats" (include "tidegate.fullname" .) -}}
{{- $there := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- $before := dig "spec" "replicas" 0 (default dict $there) | int -}}
{{- if and $nats.persistence.enabled (eq $nats.mode "bundled") (has $before (list 1 3)) (ne $before (int $nats.replicas)) -}}
{{- fail (printf "nats.replicas is %d and would become %d: NATS would delete every job and answer. Keep it, or see \"Data\" in the chart's README." $before (int $nats.replicas)) -}}
{{- end -}}
{{- end }}

{{- define "tidegate.checkCache" -}}
{{- $cache := .Values.cache -}}
{{- $qdrant := $cache.qdrant -}}
{{- if $cache.enabled -}}
{{- if eq $cache.store "embedded" -}}
{{- if gt (int $cache.replicas) 1 -}}
{{- fail "cache.store is embedded, which one pod alone can use: set cache.replicas to 1, or cache.store to qdrant." -}}
{{- end -}}
{{- if or $qdrant.url $qdrant.bundled.enabled -}}
{{- fail "cache.qdrant is given, and cache.store is embedded: set cache.store to qdrant." -}}
{{- end -}}
{{- else if and $qdrant.url $qdrant.bundled.enabled -}}
{{- fail "cache.qdrant has a url and is bundled: choose one of them." -}}
{{- else if not (or $qdrant.url $qdrant.bundled.enabled) -}}
{{- fail "cache.store is qdrant: say where it is with cache.qdrant.url, or set cache.qdrant.bundled.enabled." -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tidegate.checkModels" -}}
{{- $values := .Values -}}
{{- $provider := $values.provider -}}
{{- $hasProvider := include "tidegate.hasProvider" . -}}
{{- if and $values.routes $values.existingRoutes.configMap -}}
{{- fail "routes and existingRoutes are both given: choose one of them." -}}
{{- end -}}
{{- if and $hasProvider (eq (include "tidegate.model" .) "own") -}}
{{- fail "provider is given besides routes, which say the same in full: move it there, or take the routes out." -}}
{{- end -}}
{{- if and $hasProvider (not $provider.models) -}}
{{- fail "provider.models is empty: name the models to offer, such as --set 'provider.models={gpt-4o-mini}'." -}}
{{- end -}}
{{- if and $hasProvider (not $provider.existingSecret) (eq $provider.baseUrl "https://api.openai.com/v1") -}}
{{- fail (printf "provider.existingSecret is empty, and OpenAI wants a key. Make a Secret and name it: kubectl -n %s create secret generic openai --from-literal=api-key=sk-..." .Release.Namespace) -}}
{{- end -}}
{{- if and (eq (toString $values.simulator.enabled) "false") (eq (include "tidegate.model" .) "simulator") -}}
{{- fail "simulator.enabled is false, and there is no other model: give provider, routes or existingRoutes." -}}
{{- end -}}
{{- include "tidegate.checkKeyFiles" . -}}
{{- end }}

{{/* A file that nothing mounts is found out by a worker that does not start. */}}
{{- define "tidegate.checkKeyFiles" -}}
{{- $mounted := list -}}
{{- range .Values.providerSecrets -}}
{{- if has .name $mounted -}}
{{- fail (printf "providerSecrets has two entries called %s: give each a name of its own." .name) -}}
{{- end -}}
{{- $mounted = append $mounted .name -}}
{{- end -}}
{{- range $name, $given := .Values.routes.providers -}}
{{- $path := dig "api_key_file" "" $given -}}
{{- if hasPrefix "/etc/tidegate/providers/" $path -}}
{{- $folder := trimPrefix "/etc/tidegate/providers/" $path | splitList "/" | first -}}
{{- if not (has $folder $mounted) -}}
{{- fail (printf "routes.providers.%s reads its key from %s: add {name: %s, secret: NAME-OF-THE-SECRET} to providerSecrets." $name $path $folder) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "tidegate.checkIngress" -}}
{{- $ingress := .Values.ingress -}}
{{- if $ingress.enabled -}}
{{- if not (or $ingress.api.host $ingress.websocket.host $ingress.sse.host $ingress.grpc.host) -}}
{{- fail "ingress.enabled is true, and no surface has a host: give ingress.api.host at least." -}}
{{- end -}}
{{- if and $ingress.sse.host (eq $ingress.sse.host $ingress.api.host) (eq $ingress.sse.path "/") -}}
{{- fail "ingress.sse and ingress.api have the same host, and both answer below /v1/jobs: give ingress.sse a host of its own." -}}
{{- end -}}
{{- if and $ingress.grpc.host (has $ingress.grpc.host (list $ingress.api.host $ingress.sse.host)) -}}
{{- fail "ingress.grpc shares its host with HTTP: give it one of its own." -}}
{{- end -}}
{{- end -}}
{{- end }}
