{{- /* Values that contradict each other or leave a secret out, each with what to do. */}}
{{- define "auth.check" -}}
{{- $given := or .Values.secrets.pepper .Values.secrets.pepperPrevious .Values.secrets.adminUser .Values.secrets.adminPass }}
{{- if and .Values.existingSecret $given }}
{{- fail "Both existingSecret and secrets are set. Set existingSecret to \"\" to let the chart create the Secret, or remove secrets." }}
{{- end }}
{{- if not .Values.existingSecret }}
{{- if not .Values.secrets.pepper }}
{{- fail "There is no pepper. Set existingSecret to the name of a Secret with the keys pepper, pepper_previous, admin_user and admin_pass, or set secrets.pepper; generate it once, for instance with `openssl rand -hex 32`, and keep a copy: another pepper makes every token invalid." }}
{{- end }}
{{- if and (include "auth.adminEnabled" .) (not (and .Values.secrets.adminUser .Values.secrets.adminPass)) }}
{{- fail "The admin pages have no user or no password. Set secrets.adminUser and secrets.adminPass, or settings.ADMIN_ENABLED to false." }}
{{- end }}
{{- end }}
{{- if and .Values.redis.existingSecret .Values.redis.password }}
{{- fail "Both redis.existingSecret and redis.password are set. Set redis.existingSecret to \"\" to let the chart create the Secret, or remove redis.password." }}
{{- end }}
{{- if .Values.redis.enabled }}
{{- if not (and (include "auth.redisSecret" .) .Values.redis.passwordKey) }}
{{- fail "Redis has no password. Set redis.existingSecret to the name of a Secret with the key password, or set redis.password." }}
{{- end }}
{{- if or .Values.settings.REDIS_HOST .Values.settings.REDIS_PORT .Values.redis.usernameKey .Values.redis.urlKey }}
{{- fail "settings.REDIS_HOST, settings.REDIS_PORT, redis.usernameKey and redis.urlKey are for a Redis that you have. Set redis.enabled to false, or remove them." }}
{{- end }}
{{- else if not (or .Values.settings.REDIS_HOST .Values.redis.urlKey) }}
{{- fail "There is no Redis. Set settings.REDIS_HOST to the host of yours, or redis.urlKey to the key of redis.existingSecret that has its address, or set redis.enabled to true." }}
{{- end }}
{{- if and (or .Values.redis.usernameKey .Values.redis.urlKey) (not .Values.redis.existingSecret) }}
{{- fail "redis.usernameKey and redis.urlKey are keys of redis.existingSecret, which is not set." }}
{{- end }}
{{- if and .Values.routes (not .Values.middleware.enabled) }}
{{- fail "The routes need the middleware. Set middleware.enabled to true, or routes to []." }}
{{- end }}
{{- if and .Values.admin.host (not (include "auth.adminEnabled" .)) }}
{{- fail "admin.host leads to pages that settings.ADMIN_ENABLED turns off. Remove one of them." }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (eq (toString .Values.settings.METRICS_ENABLED) "false") }}
{{- fail "serviceMonitor.enabled needs the metrics that settings.METRICS_ENABLED turns off. Remove one of them." }}
{{- end }}
{{- end }}
