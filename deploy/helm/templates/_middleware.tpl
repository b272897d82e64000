{{- /* In a file of its own, because tests read each list of headers in a file of YAML. */}}
{{- define "auth.forwardAuth" -}}
address: http://{{ include "auth.name" . }}.{{ .Release.Namespace }}.svc.cluster.local:8000/auth
# Otherwise a client could set X-Forwarded-Host and choose the host that its token is checked for.
trustForwardHeader: false
# A decision needs only the credential; cookies and other headers are not forwarded to /auth.
# If you set CREDENTIAL_SOURCES, add those headers to both lists.
authRequestHeaders: [{{ include "auth.credentialHeaders" . }}]
# Traefik removes these headers from the client's request before it sets them from the response of /auth.
# So no client can forge an identity, and the raw token never reaches a backend: that response has an
# Authorization header only for a backend that BACKENDS_FILE gives a key of its own.
authResponseHeaders: [{{ include "auth.credentialHeaders" . }}, X-Auth-Token-Id, X-Auth-Email, X-Auth-Comment]
# Response bodies are one line long; without a limit, Traefik would buffer bodies of any size.
maxResponseBodySize: 4096
{{- end }}
