{{/* The chart's name, for labels. */}}
{{- define "quorate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What every name begins with: the release's name, with the chart's unless it holds it. Short enough for suffixes. */}}
{{- define "quorate.fullname" -}}
{{- $name := include "quorate.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 45 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The name of the operator's own objects, its Lease among them. */}}
{{- define "quorate.operator" -}}
{{ include "quorate.fullname" . }}-operator
{{- end }}

{{- define "quorate.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "quorate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "quorate.operator" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: name the ServiceAccount to use, or let serviceAccount.create make one" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* By what the operator's pods are told. The component keeps them apart from a cluster's members, whatever its name. */}}
{{- define "quorate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "quorate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of an object: (dict "root" $ "component" NAME "more" DICT); the chart's own win. */}}
{{- define "quorate.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" (include "quorate.name" .root)
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "app.kubernetes.io/component" (default "operator" .component) }}
{{- merge $own (default dict .more) .root.Values.commonLabels | toYaml }}
{{- end }}

{{/* Labels and annotations of an object, as above: (dict "root" $ "component" NAME "labels" DICT "annotations" DICT). */}}
{{- define "quorate.metadata" -}}
labels:
  {{- include "quorate.labels" (dict "root" .root "component" .component "more" .labels) | nindent 2 }}
{{- with merge dict (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "quorate.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- .repository }}{{ with .tag }}:{{ . }}{{ end }}@{{ .digest }}
{{- else }}
{{- .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end }}
{{- end }}
{{- end }}
