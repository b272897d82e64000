{{- define "auth.name" -}}{{ .Values.namePrefix }}auth-service{{- end }}
{{- define "auth.redis" -}}{{ .Values.namePrefix }}redis{{- end }}
{{- define "auth.middleware" -}}{{ .Values.namePrefix }}auth-middleware{{- end }}
{{- define "auth.separator" -}}{{ ternary "_" "-" .Values.middleware.safeNaming }}{{- end }}
{{- define "auth.secret" -}}{{ .Values.existingSecret | default (printf "%s-secrets" (include "auth.name" .)) }}{{- end }}
{{- define "auth.redisSecret" -}}
{{- if or .Values.redis.existingSecret .Values.redis.password -}}
{{ .Values.redis.existingSecret | default (printf "%s-auth" (include "auth.redis" .)) }}
{{- end }}
{{- end }}

{{- /* What selects pods: no pod of another application that is also named redis. */}}
{{- define "auth.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: acl-auth-service
{{- end }}

{{- define "auth.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: acl-auth-service
{{- with .version }}
app.kubernetes.io/version: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "auth.ownLabels" -}}
{{ include "auth.labels" (dict "root" . "name" "auth-service" "component" "auth" "version" .Chart.AppVersion) }}
{{- end }}

{{- define "auth.ownSelector" -}}
{{ include "auth.selector" (dict "root" . "name" "auth-service") }}
{{- end }}

{{- define "auth.redisLabels" -}}
{{- $version := .Values.redis.image.tag | splitList "@" | first -}}
{{ include "auth.labels" (dict "root" . "name" "redis" "component" "database" "version" $version) }}
{{- end }}

{{- define "auth.redisSelector" -}}
{{ include "auth.selector" (dict "root" . "name" "redis") }}
{{- end }}

{{- define "auth.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- .labels | nindent 2 }}
{{- end }}

{{- /* Helm reads a number in a file as a float, whose text may have an exponent. */}}
{{- define "auth.text" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- /* The settings with those that follow from other values. */}}
{{- define "auth.settings" -}}
{{- $settings := dict }}
{{- range $name, $value := .Values.settings }}
{{- $_ := set $settings $name (include "auth.text" $value) }}
{{- end }}
{{- if .Values.redis.enabled }}
{{- $_ := set $settings "REDIS_HOST" (include "auth.redis" .) }}
{{- $_ := set $settings "REDIS_PORT" "6379" }}
{{- end }}
{{- if and .Values.admin.host (not (hasKey $settings "ADMIN_HOSTS")) }}
{{- $_ := set $settings "ADMIN_HOSTS" (printf "%s,localhost,127.0.0.1" .Values.admin.host) }}
{{- end }}
{{- range $name, $value := $settings }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "auth.adminEnabled" -}}
{{- if ne (toString .Values.settings.ADMIN_ENABLED) "false" }}true{{ end }}
{{- end }}

{{- /* The headers that CREDENTIAL_SOURCES reads, as in app/core/credentials.py. */}}
{{- define "auth.credentialHeaders" -}}
{{- $headers := list }}
{{- range .Values.settings.CREDENTIAL_SOURCES | default "authorization" | splitList "," }}
{{- $source := . | trim | lower }}
{{- if hasPrefix "header:" $source }}
{{- $headers = append $headers (trimPrefix "header:" $source | title) }}
{{- else if eq $source "basic" }}
{{- $headers = append $headers "Authorization" }}
{{- else }}
{{- $headers = append $headers ($source | title) }}
{{- end }}
{{- end }}
{{- $headers | uniq | join ", " }}
{{- end }}

{{- define "auth.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "auth.image" -}}
{{ .image.repository }}:{{ .image.tag | default .version }}
{{- end }}

{{- /* Middlewares on an Ingress: <namespace>-<name>@kubernetescrd. */}}
{{- define "auth.routerAnnotations" -}}
{{- with .entryPoints }}
traefik.ingress.kubernetes.io/router.entrypoints: {{ join "," . }}
{{- end }}
{{- with .tlsSecret }}
traefik.ingress.kubernetes.io/router.tls: "true"
{{- end }}
{{- end }}

{{- define "auth.tls" -}}
{{- with .tlsSecret }}
tls:
  - hosts: [{{ $.host | quote }}]
    secretName: {{ . }}
{{- end }}
{{- end }}
