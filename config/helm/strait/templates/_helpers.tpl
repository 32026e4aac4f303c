{{/* The name of all objects. */}}
{{- define "strait.name" -}}
{{- default .Release.Name .Values.nameOverride -}}
{{- end -}}

{{/* The image with its digest, or else its tag. */}}
{{- define "strait.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The config: the user's as it is, or a file of the chart with the names of this release. */}}
{{- define "strait.config" -}}
{{- if .Values.config -}}
{{ .Values.config }}
{{- else if .Values.network -}}
{{ tpl (.Files.Get "files/istio.yaml") . }}
{{- else -}}
{{ tpl (.Files.Get "files/strait.yaml") . }}
{{- end -}}
{{- end -}}

{{/* The PriorityClass of the pods, or nothing. */}}
{{- define "strait.priorityClass" -}}
{{- if .Values.priorityClass.name -}}
{{ .Values.priorityClass.name }}
{{- else if .Values.priorityClass.create -}}
{{ include "strait.name" . }}
{{- end -}}
{{- end -}}
