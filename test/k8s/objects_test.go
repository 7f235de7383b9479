// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/yannh/kubeconform/pkg/validator"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// custom are the kinds that Kubernetes itself does not know.
var custom = map[string]bool{"ScaledObject": true, "ServiceMonitor": true, "PrometheusRule": true}

// typed decodes an object into Kubernetes' own type; unknown and doubled fields are errors.
func typed(t *testing.T, o named) runtime.Object {
	t.Helper()
	text, err := json.Marshal(o.object)
	if err != nil {
		t.Fatal(err)
	}
	codecs := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict)
	decoded, _, err := codecs.UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		t.Errorf("%s: %v", o.name, err)
	}
	return decoded
}

func TestKubernetesTypesTakeEveryObject(t *testing.T) {
	t.Parallel()
	for _, o := range everyObject(t) {
		if !custom[o.text("kind")] {
			typed(t, o)
		}
	}
}

func TestSchemasTakeEveryObject(t *testing.T) {
	t.Parallel()
	v, err := validator.New([]string{"testdata/schemas/{{.ResourceKind}}.json"}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range everyObject(t) {
		text, err := json.Marshal(o.object)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range v.Validate(o.name, io.NopCloser(bytes.NewReader(text))) {
			if r.Status != validator.Valid {
				t.Errorf("%s: %v %v", o.name, r.Err, r.ValidationErrors)
			}
		}
		// A schema that takes anything would prove nothing.
		wrong := strings.Replace(string(text), `"metadata"`, `"metadatum"`, 1)
		for _, r := range v.Validate(o.name, io.NopCloser(strings.NewReader(wrong))) {
			if r.Status == validator.Valid {
				t.Errorf("%s: the schema takes an unknown field", o.name)
			}
		}
	}
}

func TestPodsFitTheRestrictedStandard(t *testing.T) {
	t.Parallel()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	pods := 0
	for _, o := range everyObject(t) {
		var meta metav1.ObjectMeta
		var spec corev1.PodSpec
		switch o.text("kind") {
		case "Deployment":
			template := typed(t, o).(*appsv1.Deployment).Spec.Template
			meta, spec = template.ObjectMeta, template.Spec
		case "Pod":
			pod := typed(t, o).(*corev1.Pod)
			meta, spec = pod.ObjectMeta, pod.Spec
		default:
			continue
		}
		pods++
		if result := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &meta, &spec)); !result.Allowed {
			t.Errorf("%s: %s", o.name, result.ForbiddenDetail())
		}
		if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
			t.Errorf("%s has access to the API", o.name)
		}
		for _, c := range spec.Containers {
			if c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
				t.Errorf("%s: the root file system of %s can be written to", o.name, c.Name)
			}
		}
	}
	if pods == 0 {
		t.Error("no pods")
	}
}

// release is what belongs together.
type release struct {
	name       string
	deployment *appsv1.Deployment
	all        []named
}

func releases(t *testing.T) map[string]*release {
	t.Helper()
	found := map[string]*release{}
	for _, o := range everyObject(t) {
		name, _, _ := strings.Cut(o.name, ":")
		r := found[name]
		if r == nil {
			r = &release{name: name}
			found[name] = r
		}
		r.all = append(r.all, o)
		if o.text("kind") == "Deployment" {
			r.deployment = typed(t, o).(*appsv1.Deployment)
		}
	}
	return found
}

func TestSelectorsFindThePodsAndNoOthers(t *testing.T) {
	t.Parallel()
	for _, r := range releases(t) {
		check := func(what string, selector *metav1.LabelSelector) {
			t.Helper()
			s, err := metav1.LabelSelectorAsSelector(selector)
			if err != nil {
				t.Fatal(err)
			}
			if !s.Matches(labels.Set(r.deployment.Spec.Template.Labels)) {
				t.Errorf("%s: %s does not find the pods", r.name, what)
			}
			if s.Matches(labels.Set{"app.kubernetes.io/name": "streamd", "app.kubernetes.io/instance": "other"}) {
				t.Errorf("%s: %s finds the pods of another release", r.name, what)
			}
		}
		check("the Deployment", r.deployment.Spec.Selector)
		for _, c := range r.deployment.Spec.Template.Spec.TopologySpreadConstraints {
			check("a spread over "+c.TopologyKey, c.LabelSelector)
		}
		for _, o := range r.all {
			switch o.text("kind") {
			case "PodDisruptionBudget":
				check("the budget", typed(t, o).(*policyv1.PodDisruptionBudget).Spec.Selector)
			case "Service":
				check("the Service", &metav1.LabelSelector{MatchLabels: typed(t, o).(*corev1.Service).Spec.Selector})
			case "NetworkPolicy":
				p := typed(t, o).(*networkingv1.NetworkPolicy)
				check("the NetworkPolicy", &p.Spec.PodSelector)
				check("the NetworkPolicy's rule for workers", p.Spec.Ingress[0].From[0].PodSelector)
			case "HorizontalPodAutoscaler":
				h := typed(t, o).(*autoscalingv2.HorizontalPodAutoscaler)
				if h.Spec.ScaleTargetRef.Name != r.deployment.Name || r.deployment.Spec.Replicas != nil {
					t.Errorf("%s: the autoscaler is about %s, and the Deployment says %v replicas", r.name, h.Spec.ScaleTargetRef.Name, r.deployment.Spec.Replicas)
				}
			}
		}
	}
}

// settingsOf decodes the workers' file of settings.
func (r *release) settingsOf(t *testing.T) map[string]string {
	t.Helper()
	for _, o := range r.all {
		if o.id() == "ConfigMap "+r.deployment.Name {
			settings := map[string]string{}
			if err := yaml.UnmarshalStrict([]byte(o.text("data", "streamd.yaml")), &settings); err != nil {
				t.Fatal(err)
			}
			return settings
		}
	}
	t.Fatalf("%s has no settings", r.name)
	return nil
}

func variable(c corev1.Container, name string) string {
	for _, v := range c.Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

func TestWorkersHaveWhatTheirSettingsName(t *testing.T) {
	t.Parallel()
	for _, r := range releases(t) {
		settings, spec := r.settingsOf(t), r.deployment.Spec.Template.Spec
		worker := spec.Containers[0]
		if got, want := settings["http.address"], ":"+strconv.Itoa(int(worker.Ports[0].ContainerPort)); got != want {
			t.Errorf("%s: http.address is %q, the container's port %q", r.name, got, want)
		}
		drain, err := time.ParseDuration(settings["drain.timeout"])
		if grace := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second; err != nil || grace < drain+5*time.Second || grace < time.Minute {
			t.Errorf("%s: the worker drains for %s, the pod waits for %s: %v", r.name, drain, grace, err)
		}
		secure := settings["api.tls-cert-file"] != "" && (settings["api.tokens-file"] != "" || settings["api.tls-client-ca-file"] != "")
		if (settings["insecure"] == "true") == secure {
			t.Errorf("%s: insecure is %q with %v", r.name, settings["insecure"], settings)
		}
		address := strings.NewReplacer("[$(POD_IP)]", "[fd00::1]", "$(POD_IP)", "10.1.2.3")
		endpoint, err := url.Parse(address.Replace(variable(worker, "STREAMD_WORKER_ENDPOINT")))
		if err != nil || ":"+endpoint.Port() != settings["http.address"] || (endpoint.Scheme == "https") != (settings["api.tls-cert-file"] != "") {
			t.Errorf("%s: other workers are told %v: %v", r.name, endpoint, err)
		}
		mounts := map[string]string{}
		for _, m := range worker.VolumeMounts {
			mounts[m.MountPath] = m.Name
		}
		for name, value := range settings {
			if strings.HasSuffix(name, "-file") && mounts[value[:strings.LastIndex(value, "/")]] == "" {
				t.Errorf("%s: %s is %s, where nothing is mounted", r.name, name, value)
			}
		}
		for _, v := range spec.Volumes {
			if (v.Name == "state" || v.Name == "tmp") && v.Ephemeral == nil && (v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil) {
				t.Errorf("%s: the volume %s has no limit", r.name, v.Name)
			}
		}
		if mounts[settings["state.dir"]] != "state" || mounts["/tmp"] != "tmp" {
			t.Errorf("%s: a folder that the worker writes to is no volume: %v", r.name, mounts)
		}
	}
}

func TestChangedSettingsRollThePods(t *testing.T) {
	t.Parallel()
	const annotation = "streamd/settings-checksum"
	sums := map[string]string{}
	for _, r := range releases(t) {
		sum := r.deployment.Spec.Template.Annotations[annotation]
		if other := sums[sum]; other != "" || len(sum) != 64 {
			t.Errorf("%s and %s have the same checksum %q", r.name, other, sum)
		}
		sums[sum] = r.name
	}
}
