{{/* How often and for how long, of a monitor's values. */}}
{{- define "quorate.scrape" -}}
port: metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
The operator's endpoint, of a monitor's values. The labels of its samples win, because `namespace` there is a cluster's.
Its job is fixed: the rules select by it, and a job with "etcd" in it would count as a cluster in etcd's own alerts.
*/}}
{{- define "quorate.operatorEndpoint" -}}
{{ include "quorate.scrape" . }}
path: /metrics
honorLabels: true
relabelings:
  - targetLabel: job
    replacement: quorate-operator
  {{- with .relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The rules of a file, with what the values of a PrometheusRule add to each. */}}
{{- define "quorate.rules" -}}
{{- $values := .values }}
{{- $rules := .root.Files.Get .file | fromYaml }}
{{- $runbooks := trimSuffix "/" $values.runbookUrl }}
{{- range $group := $rules.groups }}
{{- range $rule := $group.rules }}
{{- $_ := set $rule "labels" (merge dict $rule.labels $values.alertLabels) }}
{{- if $runbooks }}
{{- $_ := set $rule.annotations "runbook_url" (printf "%s/%s" $runbooks $rule.alert) }}
{{- end }}
{{- end }}
{{- end }}
{{- toYaml $rules }}
{{- end }}
