{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}

{{- define "streamd.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "streamd.selector" -}}
app.kubernetes.io/name: streamd
app.kubernetes.io/instance: {{ include "streamd.name" . }}
{{- end -}}

{{- define "streamd.labels" -}}
{{ include "streamd.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- if eq .Release.Service "Helm" }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "streamd.metadata" -}}
name: {{ include "streamd.name" . }}
{{- with .Release.Namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "streamd.labels" . | nindent 2 }}
{{- end -}}

{{- define "streamd.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "streamd.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "streamd.image" -}}
{{- $image := required "image.repository is needed: name the image that holds the pipeline's binary" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $image .Values.image.digest -}}
{{- else if .Values.image.tag -}}
{{- printf "%s:%s" $image .Values.image.tag -}}
{{- else -}}
{{- $image -}}
{{- end -}}
{{- end -}}

{{- define "streamd.scheme" -}}
{{- ternary "HTTPS" "HTTP" (ne .Values.api.tlsSecret "") -}}
{{- end -}}

{{- /* A setting's value as text: numbers without an exponent, lists with commas. */ -}}
{{- define "streamd.text" -}}
{{- if kindIs "float64" . -}}
{{- printf "%.0f" . -}}
{{- else if kindIs "slice" . -}}
{{- join "," . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- /* The file of settings: what the user has set, and what the pod decides. */ -}}
{{- define "streamd.settings" -}}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ include "streamd.text" $value | quote }}
{{- end }}
http.address: {{ printf ":%s" (include "streamd.text" .Values.http.port) | quote }}
state.dir: {{ .Values.state.path | quote }}
drain.timeout: {{ printf "%ds" (sub (int .Values.terminationGracePeriodSeconds) 10) | quote }}
{{- /* TLS, and callers that say who they are, by tokens or by certificates. */}}
{{- if not (and .Values.api.tlsSecret (or .Values.api.tokensSecret (index .Values.settings "api.tls-client-ca-file"))) }}
insecure: "true"
{{- end }}
{{- if .Values.api.tokensSecret }}
api.tokens-file: /etc/streamd/api/tokens
{{- end }}
{{- if .Values.api.peerTokenSecret }}
api.peer-token-file: /etc/streamd/peer/token
{{- end }}
{{- if .Values.api.tlsSecret }}
api.tls-cert-file: /etc/streamd/tls/tls.crt
api.tls-key-file: /etc/streamd/tls/tls.key
{{- end }}
{{- end -}}

{{- /* Secrets to mount: the user's and those of the API, as a list of name and path. */ -}}
{{- define "streamd.secrets" -}}
{{- with .Values.secrets }}
{{ toYaml . }}
{{- end }}
{{- with .Values.api.tokensSecret }}
- name: {{ . }}
  path: /etc/streamd/api
{{- end }}
{{- with .Values.api.peerTokenSecret }}
- name: {{ . }}
  path: /etc/streamd/peer
{{- end }}
{{- with .Values.api.tlsSecret }}
- name: {{ . }}
  path: /etc/streamd/tls
{{- end }}
{{- end -}}

{{- define "streamd.env" -}}
- name: STREAMD_CONFIG
  value: /etc/streamd/settings/streamd.yaml
{{- with .Values.worker.zone }}
- name: STREAMD_WORKER_ZONE
  value: {{ . | quote }}
{{- end }}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: STREAMD_WORKER_ENDPOINT
  value: {{ .Values.worker.endpoint | default (printf "%s://$(POD_IP):%s" (include "streamd.scheme" . | lower) (include "streamd.text" .Values.http.port)) | quote }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* What runs in the pod: image, environment and volumes, for the worker and for what checks it. */ -}}
{{- define "streamd.container" -}}
image: {{ include "streamd.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.command }}
command:
  {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- include "streamd.env" . | nindent 2 }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: settings
    mountPath: /etc/streamd/settings
    readOnly: true
  - name: state
    mountPath: {{ .Values.state.path }}
  - name: tmp
    mountPath: /tmp
  {{- range $i, $secret := include "streamd.secrets" . | fromYamlArray }}
  - name: secret-{{ $i }}
    mountPath: {{ $secret.path }}
    readOnly: true
  {{- end }}
  {{- with .Values.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* The pod around it, without its containers. */ -}}
{{- define "streamd.pod" -}}
serviceAccountName: {{ include "streamd.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: settings
    configMap:
      name: {{ include "streamd.name" . }}
  - name: state
    {{- if .Values.state.volume }}
    {{- toYaml .Values.state.volume | nindent 4 }}
    {{- else }}
    emptyDir:
      sizeLimit: {{ .Values.state.sizeLimit }}
      {{- with .Values.state.medium }}
      medium: {{ . }}
      {{- end }}
    {{- end }}
  - name: tmp
    emptyDir:
      sizeLimit: {{ .Values.tmp.sizeLimit }}
  {{- range $i, $secret := include "streamd.secrets" . | fromYamlArray }}
  - name: secret-{{ $i }}
    secret:
      secretName: {{ $secret.name }}
      defaultMode: 288  # 0440
  {{- end }}
  {{- with .Values.volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* How fast an autoscaler may go up and down. */ -}}
{{- define "streamd.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 60
  policies:
    - type: Percent
      value: 100
      periodSeconds: 60
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownStabilizationSeconds }}
  policies:
    - type: Pods
      value: 1
      periodSeconds: {{ .Values.autoscaling.scaleDownPeriodSeconds }}
{{- end -}}

{{- /* What the series of this application have in common: a ServiceMonitor names the job after the Service. */ -}}
{{- define "streamd.series" -}}
{{- with .Release.Namespace }}namespace="{{ . }}",{{ end }}job="{{ include "streamd.name" . }}"
{{- end -}}
