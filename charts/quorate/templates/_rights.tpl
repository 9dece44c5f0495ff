{{/*
What the operator may do with clusters, wherever they are. operator/src/permissions.rs says what each right is for, and
a test keeps the two alike, both ways.
*/}}
{{- define "quorate.rights" -}}
rules:
  - apiGroups: [quorate.io]
    resources: [raftclusters]
    verbs: [get, list, watch]
  - apiGroups: [quorate.io]
    resources: [raftclusters/status]
    verbs: [update]
  - apiGroups: [quorate.io]
    resources: [raftmembers]
    verbs: [create, delete, list, watch]
  - apiGroups: [quorate.io]
    resources: [raftoperations]
    verbs: [delete, get, list, watch]
  - apiGroups: [quorate.io]
    resources: [raftoperations/status]
    verbs: [update]
  - apiGroups: [quorate.io]
    resources: [raftusers, raftroles]
    verbs: [get, list, watch]
  - apiGroups: [quorate.io]
    resources: [raftusers/status, raftroles/status]
    verbs: [update]
  - apiGroups: [""]
    resources: [pods, persistentvolumeclaims]
    verbs: [create, delete, list, patch, watch]
  - apiGroups: [""]
    resources: [services]
    verbs: [create, list, patch, watch]
  - apiGroups: [policy]
    resources: [poddisruptionbudgets]
    verbs: [create, list, patch, watch]
  - apiGroups: [networking.k8s.io]
    resources: [networkpolicies]
    verbs: [create, delete, list, patch, watch]
  # By name only: spec.tls, spec.auth and RaftUsers name them, or they are made.
  - apiGroups: [""]
    resources: [secrets]
    verbs: [create, get, patch]
  {{- if .Values.certManager.enabled }}
  # For spec.tls mode CertManager: asked for by name, one for each Secret.
  - apiGroups: [cert-manager.io]
    resources: [certificates]
    verbs: [create, delete, get, patch]
  {{- end }}
  {{- if and .Values.volumeSnapshots.enabled (not .Values.watchNamespaces) }}
  # Before a cluster that has lost its quorum is rebuilt.
  - apiGroups: [snapshot.storage.k8s.io]
    resources: [volumesnapshots]
    verbs: [create, get]
  - apiGroups: [snapshot.storage.k8s.io]
    resources: [volumesnapshotclasses]
    verbs: [list]
  {{- end }}
  - apiGroups: [events.k8s.io]
    resources: [events]
    verbs: [create]
  {{- if not .Values.watchNamespaces }}
  - apiGroups: [storage.k8s.io]
    resources: [storageclasses]
    verbs: [get]
  {{- end }}
{{- end }}

{{- define "quorate.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "quorate.serviceAccountName" . }}
    namespace: {{ include "quorate.namespace" . }}
{{- end }}
