{{/*
The volumes that several services share, and where they are mounted.

`mounts` is a list of their names: `routes` (the routes file), `providers` (keys of providers), `data`
(what outlives the pod; its volume is the component's own). `/tmp`, secrets and the authority of NATS
come by themselves.
*/}}

{{- define "tidegate.volumes" -}}
{{- $values := .root.Values -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .values.tmpSize }}}
{{- if include "tidegate.keysOf" . }}
{{ include "tidegate.secretVolume" . }}
{{- end }}
{{- if has "nats-ca" .mounts }}
{{- with include "tidegate.natsCaSecret" .root }}
{{ include "tidegate.oneSecretVolume" (dict "name" "nats-ca" "secret" . "keys" (list "ca.crt")) }}
{{- end }}
{{- end }}
{{- if has "routes" .mounts }}
- name: routes
  configMap:
    {{- if $values.existingRoutes.configMap }}
    name: {{ $values.existingRoutes.configMap | quote }}
    items: [{key: {{ $values.existingRoutes.key | quote }}, path: routes.yaml}]
    {{- else }}
    name: {{ include "tidegate.componentName" (dict "root" .root "component" "routes") }}-{{ include "tidegate.routesSuffix" .root }}
    {{- end }}
{{- end }}
{{- if has "providers" .mounts }}
{{- with $values.provider.existingSecret }}
{{ include "tidegate.oneSecretVolume" (dict "name" "provider" "secret" . "keys" (list "api-key")) }}
{{- end }}
{{- range $values.providerSecrets }}
{{ include "tidegate.oneSecretVolume" (dict "name" (printf "provider-%s" .name) "secret" .secret) }}
{{- end }}
{{- end }}
{{- with .more }}
{{ . }}
{{- end }}
{{- with include "tidegate.reloadVolumes" .root }}
{{ . }}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tidegate.mounts" -}}
{{- $values := .root.Values -}}
- {name: tmp, mountPath: /tmp}
{{- if include "tidegate.keysOf" . }}
- {name: secrets, mountPath: /etc/tidegate/secrets, readOnly: true}
{{- end }}
{{- if and (has "nats-ca" .mounts) (include "tidegate.natsCaSecret" .root) }}
- {name: nats-ca, mountPath: /etc/tidegate/nats-ca, readOnly: true}
{{- end }}
{{- if has "routes" .mounts }}
- {name: routes, mountPath: /etc/tidegate/routes, readOnly: true}
{{- end }}
{{- if has "providers" .mounts }}
{{- if $values.provider.existingSecret }}
- {name: provider, mountPath: /etc/tidegate/provider, readOnly: true}
{{- end }}
{{- range $values.providerSecrets }}
- {name: provider-{{ .name }}, mountPath: /etc/tidegate/providers/{{ .name }}, readOnly: true}
{{- end }}
{{- end }}
{{- if has "qdrant" .mounts }}
- {name: qdrant, mountPath: /etc/tidegate/qdrant, readOnly: true}
{{- end }}
{{- if has "pods" .mounts }}
- {name: pods, mountPath: /etc/tidegate/pods, readOnly: true}
{{- end }}
{{- if has "data" .mounts }}
- {name: data, mountPath: /data}
{{- end }}
{{- with include "tidegate.reloadMounts" .root }}
{{ . }}
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Those of `keys` that some Secret holds; empty if none. */}}
{{- define "tidegate.keysOf" -}}
{{- range .keys }}{{ include "tidegate.secretOf" (dict "root" $.root "key" .) }}{{ end -}}
{{- end }}

{{/* A claim for `data`, or a folder that goes with the pod. `persistence` says which. */}}
{{- define "tidegate.claimTemplates" -}}
{{- if .persistence.enabled -}}
persistentVolumeClaimRetentionPolicy:
  whenDeleted: {{ .persistence.whenDeleted }}
  whenScaled: Retain
volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata:
      name: data
      labels:
        {{- include "tidegate.selectorLabels" . | nindent 8 }}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .persistence.storageClass }}
      storageClassName: {{ . | quote }}
      {{- end }}
      resources: {requests: {storage: {{ .persistence.size }}}}
{{- end }}
{{- end }}

{{/* For skaffold.yaml: /src outlives the process that is started again. */}}
{{- define "tidegate.reloadVolumes" -}}
{{- if .Values.development.reload -}}
- name: reload
  configMap: {name: {{ include "tidegate.componentName" (dict "root" . "component" "reload") }}}
- name: src
  emptyDir: {sizeLimit: 64Mi}
{{- end }}
{{- end }}

{{- define "tidegate.reloadMounts" -}}
{{- if .Values.development.reload -}}
- {name: reload, mountPath: /etc/tidegate/reload, readOnly: true}
- {name: src, mountPath: /src}
{{- end }}
{{- end }}
