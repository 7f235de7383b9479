// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/deploy"
	"github.com/streamd/streamd/engine/config"
)

func (p *program) k8sCommand() *cobra.Command {
	return family(&cobra.Command{
		Use:     "k8s",
		Short:   "Run the application on Kubernetes",
		Example: p.example("k8s manifests --image registry.example.com/flights:1.0 --brokers kafka:9092 | kubectl apply -f -"),
	}, p.k8sManifestsCommand())
}

// k8sOptions are the flags of k8s manifests.
type k8sOptions struct {
	image, pullPolicy               string
	name, namespace                 string
	replicas                        int
	memoryLimit, cpu, stateSize     string
	secrets, secretEnv, valuesFiles []string
	grace                           time.Duration
	kustomize                       string
}

func (p *program) k8sManifestsCommand() *cobra.Command {
	var o k8sOptions
	cmd := &cobra.Command{
		Use:   "manifests",
		Short: "Print Kubernetes manifests for the application",
		Long: "Prints what the Helm chart in deploy/helm makes of the settings that hold here and now: a Deployment of workers with\n" +
			"what belongs to it. Nothing is connected to. Settings that have their default are left out; those that a pod decides\n" +
			"(http.address, state.dir, drain.timeout, insecure) are translated. Whatever the chart can do, --values reaches.\n\n" +
			"-o values prints the values instead, for: helm install -f. --kustomize writes a kustomize base into a folder.",
		Example: p.example(
			"k8s manifests --image registry.example.com/flights:1.0 --brokers kafka:9092 --store-url s3://bucket/streamd",
			"k8s manifests --config streamd.yaml --image flights:1.0 --secret kafka-user=/etc/streamd/kafka --secret-env store",
			"k8s manifests --config streamd.yaml --image flights:1.0 -o values",
			"k8s manifests --image flights:1.0 --brokers kafka:9092 --values production.yaml --kustomize deploy/base"),
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.k8sManifests(cmd, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.image, "image", "", "`image` that holds the pipeline's binary, with its tag or digest")
	f.StringVar(&o.pullPolicy, "image-pull-policy", "", "`policy`: Always, IfNotPresent or Never")
	f.StringVar(&o.name, "name", "", "`name` of all objects; without it the application's id")
	f.StringVarP(&o.namespace, "namespace", "n", "", "`namespace` of all objects; without it none is written")
	f.IntVar(&o.replicas, "replicas", 0, "`number` of workers")
	f.StringVar(&o.memoryLimit, "memory-limit", "", "`quantity` of memory of a pod, such as 4Gi; without it what the setting memory needs")
	f.StringVar(&o.cpu, "cpu", "", "`quantity` of processors of a pod, such as 2 or 500m")
	f.StringVar(&o.stateSize, "state-size", "", "`quantity` of disk for local state, such as 50Gi")
	f.StringArrayVar(&o.secrets, "secret", nil, "`name=path`: mount a Secret as a folder, for settings that end in -file")
	f.StringArrayVar(&o.secretEnv, "secret-env", nil, "`name` of a Secret whose entries become environment variables, such as AWS_ACCESS_KEY_ID")
	f.DurationVar(&o.grace, "grace", 0, "`time` that a pod has to end; without it ten seconds more than drain.timeout, at least 60s")
	f.StringArrayVarP(&o.valuesFiles, "values", "f", nil, "`file` of values of the chart; flags and settings win")
	f.StringVar(&o.kustomize, "kustomize", "", "`folder` to write a kustomize base to")
	return withSettings(withOutput(cmd, "yaml", "values"), false)
}

func (p *program) k8sManifests(cmd *cobra.Command, o k8sOptions) error {
	cfg, err := p.settings(cmd)
	if err != nil {
		return err
	}
	if err := validElsewhere(cfg); err != nil {
		return err
	}
	if p.compile != nil {
		if _, err := p.topology(); err != nil {
			return err
		}
	}
	own, notes, err := podValues(cfg, o)
	if err != nil {
		return err
	}
	chosen, err := userValues(o.valuesFiles, own)
	if err != nil {
		return err
	}
	defaults, err := deploy.Defaults()
	if err != nil {
		return err
	}
	values := deploy.Merge(defaults, chosen)
	if err := deploy.Validate(values); err != nil {
		return err
	}
	if err := checkPod(values); err != nil {
		return err
	}
	for _, note := range append(notes, podNotes(values)...) {
		say(cmd, "note: %s", note)
	}
	if outputFormat(cmd) == "values" {
		text, err := deploy.YAML(chosen)
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(cmd.OutOrStdout(), text)
		return err
	}
	release := deploy.Release{Name: objectName(o.name, cfg.AppID), Namespace: o.namespace}
	if release.Name == "" {
		return failf(exitUsage, "what are the objects called? name them by --name, or the application by --app-id")
	}
	if o.kustomize != "" {
		return writeKustomize(cmd, o.kustomize, release, values)
	}
	manifests, err := deploy.Render(release, values)
	if err != nil {
		return err
	}
	for i, m := range manifests {
		if i > 0 {
			fmt.Fprintln(cmd.OutOrStdout(), "---")
		}
		if _, err := fmt.Fprint(cmd.OutOrStdout(), m.Text); err != nil {
			return err
		}
	}
	return nil
}

// validElsewhere checks the settings for another machine: files are not looked for here, and addresses are the pod's.
func validElsewhere(cfg *config.Config) error {
	elsewhere := *cfg
	elsewhere.Insecure = true
	err := elsewhere.Validate()
	invalid, is := errors.AsType[*config.InvalidError](err)
	if !is {
		return err
	}
	var problems []config.Problem
	for _, problem := range invalid.Problems {
		if !strings.HasSuffix(problem.Setting, fileSuffix) || !errors.Is(problem.Err, fs.ErrNotExist) {
			problems = append(problems, problem)
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return &config.InvalidError{Problems: problems}
}

// userValues lays what flags and settings say over the files.
func userValues(files []string, own map[string]any) (map[string]any, error) {
	values := map[string]any{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read values: %w", err)
		}
		more, err := deploy.ParseValues(text)
		if err != nil {
			return nil, failf(exitInvalid, "read values %s: %w", file, err)
		}
		values = deploy.Merge(values, more)
	}
	return deploy.Merge(values, own), nil
}

func writeKustomize(cmd *cobra.Command, dir string, release deploy.Release, values map[string]any) error {
	files, err := deploy.Kustomize(release, values)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create %s: %w", dir, err)
	}
	for _, file := range files {
		if err := os.WriteFile(filepath.Join(dir, file.File), []byte(file.Text), 0o644); err != nil {
			return fmt.Errorf("write the kustomize base: %w", err)
		}
	}
	say(cmd, "%s is written: %d files; try: kubectl kustomize %s", dir, len(files), dir)
	return nil
}
