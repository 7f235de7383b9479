// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"maps"
	"net"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/streamd/streamd/engine/config"
)

// fileSuffix ends the names of settings that name a file.
const fileSuffix = "-file"

// podSettings are the settings that the chart sets, by the value that decides them.
var podSettings = map[string]string{
	"http.address":        "http.port",
	"state.dir":           "state.path",
	"drain.timeout":       "terminationGracePeriodSeconds",
	"insecure":            "api.tokensSecret",
	"api.tokens-file":     "api.tokensSecret",
	"api.peer-token-file": "api.peerTokenSecret",
	"api.tls-cert-file":   "api.tlsSecret",
	"api.tls-key-file":    "api.tlsSecret",
	"worker.zone":         "worker.zone",
	"worker.endpoint":     "worker.endpoint",
}

// apiFolders are where the chart mounts the Secrets of the API.
var apiFolders = map[string]string{"tokensSecret": "/etc/streamd/api", "peerTokenSecret": "/etc/streamd/peer", "tlsSecret": "/etc/streamd/tls"}

// drainReserve is how much longer a pod has than its worker: for the start of the drain and the end of the process.
const drainReserve = 10 * time.Second

// podGrace is the least that a pod has to end, unless it is told otherwise.
const podGrace = 60 * time.Second

// podValues gives the chart's values that settings and flags decide, and what somebody should know about them.
func podValues(cfg *config.Config, o k8sOptions) (values map[string]any, notes []string, err error) {
	values = map[string]any{}
	settings := map[string]any{}
	for _, s := range config.Settings() {
		if cfg.IsDefault(s.Name) {
			continue
		}
		if by, own := podSettings[s.Name]; own {
			if note := translate(values, s.Name, cfg); note != "" {
				notes = append(notes, fmt.Sprintf("%s (%s) %s; the chart's value is %s", s.Name, cfg.Origin(s.Name), note, by))
			}
			continue
		}
		settings[s.Name] = cfg.Text(s.Name)
	}
	if len(settings) > 0 {
		values["settings"] = settings
	}
	if cfg.Memory > 0 && o.memoryLimit == "" {
		o.memoryLimit = fmt.Sprintf("%dMi", (cfg.Memory/4*5+1<<20-1)>>20)
	}
	return values, notes, o.values(values)
}

// translate makes a value of a setting that a pod decides, or says why it does not.
func translate(values map[string]any, name string, cfg *config.Config) (note string) {
	switch name {
	case "http.address":
		_, port, err := net.SplitHostPort(cfg.HTTPAddress)
		n, bad := strconv.Atoi(port)
		if err != nil || bad != nil || n == 0 {
			return "is left out: probes and metrics need the address"
		}
		values["http"] = map[string]any{"port": float64(n)}
	case "state.dir":
		if !path.IsAbs(cfg.StateDir) {
			return "is left out: in a pod the folder is a volume"
		}
		values["state"] = map[string]any{"path": cfg.StateDir}
	case "drain.timeout":
		values["terminationGracePeriodSeconds"] = max(podGrace, cfg.DrainTimeout+drainReserve).Seconds()
	case "worker.zone":
		values["worker"] = map[string]any{"zone": cfg.WorkerZone}
	case "insecure": // the chart knows
	default:
		return "is left out"
	}
	return ""
}

// values adds what the flags say.
func (o k8sOptions) values(values map[string]any) error {
	if o.image != "" {
		values["image"] = parseImage(o.image)
	}
	if o.pullPolicy != "" {
		section(values, "image")["pullPolicy"] = o.pullPolicy
	}
	if o.replicas != 0 {
		values["replicas"] = float64(o.replicas)
	}
	for resource, quantity := range map[string]string{"memory": o.memoryLimit, "cpu": o.cpu} {
		if quantity != "" {
			section(section(values, "resources"), "requests")[resource] = quantity
			section(section(values, "resources"), "limits")[resource] = quantity
		}
	}
	if o.stateSize != "" {
		section(values, "state")["sizeLimit"] = o.stateSize
	}
	if o.grace != 0 {
		values["terminationGracePeriodSeconds"] = o.grace.Seconds()
	}
	var secrets, environment []any
	for _, s := range o.secrets {
		name, folder, ok := strings.Cut(s, "=")
		if !ok || name == "" || !path.IsAbs(folder) {
			return failf(exitUsage, "--secret %s: expected name=path, with an absolute path", s)
		}
		secrets = append(secrets, map[string]any{"name": name, "path": folder})
	}
	for _, name := range o.secretEnv {
		environment = append(environment, map[string]any{"secretRef": map[string]any{"name": name}})
	}
	if secrets != nil {
		values["secrets"] = secrets
	}
	if environment != nil {
		values["envFrom"] = environment
	}
	return nil
}

// section returns a map within a map, which it makes if it is not there.
func section(values map[string]any, name string) map[string]any {
	inner, ok := values[name].(map[string]any)
	if !ok {
		inner = map[string]any{}
		values[name] = inner
	}
	return inner
}

// parseImage takes "host:port/name:tag@digest" apart.
func parseImage(image string) map[string]any {
	parts := map[string]any{}
	image, digest, _ := strings.Cut(image, "@")
	if digest != "" {
		parts["digest"] = digest
	}
	if colon := strings.LastIndex(image, ":"); colon > strings.LastIndex(image, "/") {
		parts["tag"] = image[colon+1:]
		image = image[:colon]
	}
	parts["repository"] = image
	return parts
}

var notInNames = regexp.MustCompile(`[^a-z0-9-]+`)

// objectName makes a name for Kubernetes' objects: of --name, which is kept, or of an application's id.
func objectName(given, app string) string {
	if given != "" {
		return given
	}
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(app), "-"), "-")
	if name != "" && (name[0] < 'a' || name[0] > 'z') {
		name = "app-" + name
	}
	return strings.TrimRight(name[:min(len(name), 52)], "-")
}

// checkPod refuses values with which no worker could start.
func checkPod(values map[string]any) error {
	settings := section(values, "settings")
	if settings["brokers"] == nil {
		return failf(exitUsage, "which brokers? the default is this machine, which in a pod is the pod itself: name the cluster's by --brokers")
	}
	var folders []string
	for _, list := range [][2]string{{"secrets", "path"}, {"volumeMounts", "mountPath"}} {
		entries, _ := values[list[0]].([]any)
		for _, entry := range entries {
			mount, _ := entry.(map[string]any)
			folder, _ := mount[list[1]].(string)
			folders = append(folders, path.Clean(folder))
		}
	}
	for secret, folder := range apiFolders {
		if section(values, "api")[secret] != "" {
			folders = append(folders, folder)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		file, _ := settings[name].(string)
		if !strings.HasSuffix(name, fileSuffix) || file == "" {
			continue
		}
		if !path.IsAbs(file) {
			return failf(exitInvalid, "%s is %s: in a pod a file needs an absolute path, below a folder that --secret mounts", name, file)
		}
		if !slices.ContainsFunc(folders, func(f string) bool { return file == f || strings.HasPrefix(file, f+"/") }) {
			return failf(exitInvalid, "%s is %s, and nothing is mounted there: create a Secret with the key %q and add --secret NAME=%s", name, file, path.Base(file), path.Dir(file))
		}
	}
	return nil
}

// podNotes are doubts about values that may be meant so.
func podNotes(values map[string]any) (notes []string) {
	settings := section(values, "settings")
	store, _ := settings["store.url"].(string)
	switch {
	case store == "":
		notes = append(notes, "there is no store.url: a pod that goes takes its state with it, and its successor replays whole changelogs")
	case strings.HasPrefix(store, "file:"):
		notes = append(notes, "store.url is a folder: all pods must see the same one, by volumes and volumeMounts in --values")
	case strings.HasPrefix(store, "mem:"):
		notes = append(notes, "store.url is the memory of one pod: checkpoints go with it")
	}
	brokers := fmt.Sprint(settings["brokers"])
	if strings.HasPrefix(brokers, "127.") || strings.HasPrefix(brokers, "localhost") || strings.HasPrefix(brokers, "[::1]") {
		notes = append(notes, "brokers is "+brokers+", which in a pod is the pod itself")
	}
	return notes
}
