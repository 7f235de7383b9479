// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files")

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "streamd.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func valid(t *testing.T) *Config {
	t.Helper()
	c := Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReferenceIsUpToDate(t *testing.T) {
	t.Parallel()
	path := filepath.Join("..", "..", "docs", "reference", "configuration.md")
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Reference(), string(got)); diff != "" {
		t.Errorf("run: go test ./engine/config -rewrite\n%s", diff)
	}
}

func TestEverySettingHasItsOwnFieldFlagAndVariable(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	c := &Config{}
	for _, s := range Settings() {
		if s.Doc == "" || s.Group == "" || !regexp.MustCompile(`^[a-z]+(\.[a-z]+(-[a-z]+)*)*$`).MatchString(s.Name) {
			t.Errorf("setting %q is not described well", s.Name)
		}
		field := reflect.ValueOf(s.bind(c))
		if field.Elem().Kind() == reflect.Struct {
			field = field.Elem().Field(0)
		}
		for _, key := range []string{s.Flag(), s.Env(), fmt.Sprint(field.Pointer())} {
			if seen[key] != "" {
				t.Errorf("settings %s and %s share %s", seen[key], s.Name, key)
			}
			seen[key] = s.Name
		}
	}
	exported := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if f.IsExported() {
			exported++
		}
	}
	if exported != len(Settings()) {
		t.Errorf("Config has %d fields, but there are %d settings", exported, len(Settings()))
	}
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	t.Parallel()
	path := writeFile(t, `
commit:
  interval: 3s
  floor: 4ms
session.timeout: 33s
brokers: [a:1, b:2]
tls: {enabled: true}
`)
	c, err := Load(Sources{
		Flags:   flags(t, "--config", path, "--commit-interval=1s", "--insecure"),
		Environ: []string{"STREAMD_COMMIT_INTERVAL=2s", "STREAMD_COMMIT_FLOOR=2ms", "HOME=/root"},
	})
	if err != nil {
		t.Fatal(err)
	}
	type row struct{ Value, Origin string }
	got := map[string]row{}
	for _, name := range []string{"commit.interval", "commit.floor", "session.timeout", "brokers", "tls.enabled", "insecure", "lanes"} {
		got[name] = row{c.Text(name), strings.ReplaceAll(c.Origin(name).String(), path, "FILE")}
	}
	want := map[string]row{
		"commit.interval": {"1s", "flag --commit-interval"},
		"commit.floor":    {"2ms", "env STREAMD_COMMIT_FLOOR"},
		"session.timeout": {"33s", "file FILE:5"},
		"brokers":         {"a:1,b:2", "file FILE:6"},
		"tls.enabled":     {"true", "file FILE:7"},
		"insecure":        {"true", "flag --insecure"},
		"lanes":           {"0", "default"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFileIsAlsoNamedByTheEnvironment(t *testing.T) {
	t.Parallel()
	c, err := Load(Sources{Environ: []string{"STREAMD_CONFIG=" + writeFile(t, "lanes: 7")}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Lanes != 7 {
		t.Errorf("lanes is %d", c.Lanes)
	}
}

func TestAllProblemsOfLoadingAreReportedAtOnceWithTheNearestName(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "comit.interval: 1s\nlanes: many\nmemory:\nfetch: {max-bytes: 3XB}\nlanes: 3\nguarantee: exactly-onec\ncheckpoint: 7")
	_, err := Load(Sources{
		Flags:   flags(t, "--config", path),
		Environ: []string{"STREAMD_SASL_PASSWORD=hunter2", "STREAMD_MEMORY=12 potatoes", "STREAMD_COMMIT_INTERVAL=5"},
	})
	if !errors.Is(err, ErrInvalid) {
		t.Fatalf("got %v, expected ErrInvalid", err)
	}
	text := strings.ReplaceAll(err.Error(), path, "FILE")
	for _, want := range []string{
		"comit.interval (file FILE:1): there is no such setting: did you mean commit.interval?",
		`lanes (file FILE:2): "many" is not a whole number`,
		"memory (file FILE:3): it has no value",
		`fetch.max-bytes (file FILE:4): size "3XB": unit "XB" is not known`,
		"lanes (file FILE:5): the file sets it twice",
		"did you mean exactly-once?",
		"checkpoint (file FILE:7): there is no such setting",
		"(env STREAMD_SASL_PASSWORD): there is no such setting: did you mean STREAMD_SASL_PASSWORD_FILE?",
		`memory (env STREAMD_MEMORY): size "12 potatoes"`,
		`commit.interval (env STREAMD_COMMIT_INTERVAL): "5" has no unit: write 5ms or 5s`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s\n%s", want, text)
		}
	}
	if strings.Contains(text, "hunter2") {
		t.Error("the value of an unknown variable was printed")
	}
}

func TestServiceLinksOfKubernetesAreNotSettings(t *testing.T) {
	t.Parallel()
	_, err := Load(Sources{Environ: []string{
		"STREAMD_SERVICE_HOST=10.0.0.1", "STREAMD_SERVICE_PORT=8080", "STREAMD_SERVICE_PORT_HTTP=8080", "STREAMD_PORT=tcp://10.0.0.1:8080",
		"STREAMD_PORT_8080_TCP=tcp://10.0.0.1:8080", "STREAMD_PORT_8080_TCP_ADDR=10.0.0.1", "STREAMD_FLIGHTS_SERVICE_HOST=10.0.0.2",
	}})
	if err != nil {
		t.Error(err)
	}
}

func TestUnreadableFileIsAProblemNotADefault(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{
		"missing":       filepath.Join(t.TempDir(), "none.yaml"),
		"a folder":      t.TempDir(),
		"not YAML":      writeFile(t, "a: [b"),
		"no mapping":    writeFile(t, "- lanes"),
		"two documents": writeFile(t, "lanes: 1\n---\nlanes: 2\n"),
		"huge":          writeFile(t, "# "+strings.Repeat("x", maxFileBytes)),
	} {
		if _, err := Load(Sources{Flags: flags(t, "--config", path)}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := Load(Sources{Flags: flags(t, "--config", writeFile(t, "# nothing\n"))}); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

func TestBadFlagIsRefusedByTheFlagSet(t *testing.T) {
	t.Parallel()
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	AddFlags(fs)
	if err := fs.Parse([]string{"--commit-interval=soon"}); err == nil {
		t.Error("no error")
	}
}

func TestSecretIsNeverAFlagAndNeverPrinted(t *testing.T) {
	t.Parallel()
	for _, s := range Settings() {
		if strings.Contains(s.Name, "password") && !strings.HasSuffix(s.Name, "-file") {
			t.Errorf("%s takes a secret", s.Name)
		}
	}
	path := writeFile(t, "hunter2\n")
	s, err := ReadSecret(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Reveal() != "hunter2" {
		t.Errorf("read %q", s.Reveal())
	}
	asJSON, err := json.Marshal(map[string]any{"a": s, "b": &s})
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(map[string]any{"a": s})
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s %q %x %d %v", s, s, s, s, s, s, s, struct{ S Secret }{s}) + string(asJSON) + string(asYAML)
	if strings.Contains(printed, "hunter2") || strings.Contains(printed, fmt.Sprintf("%x", "hunter2")) || !strings.Contains(printed, redacted) {
		t.Error(printed)
	}
	for _, content := range []string{"", "\n"} {
		if _, err := ReadSecret(writeFile(t, content)); err == nil {
			t.Errorf("a secret of %q was accepted", content)
		}
	}
}

func TestSizesAreReadAndWrittenAlike(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "17": 17, "1B": 1, "64KiB": 65536, "512MiB": 512 << 20, "1.5GiB": 3 << 29, "1 GiB": 1 << 30, "1MB": 1_000_000, "2kb": 2000, "1TiB": 1 << 40,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, expected %d", text, got, err, want)
		}
		if back, err := ParseSize(FormatSize(got)); err != nil || back != got {
			t.Errorf("FormatSize(%d) = %q, which reads as %d, %v", got, FormatSize(got), back, err)
		}
	}
	for _, text := range []string{"", "B", "-1", "+1", "1XB", "9999999TiB", "1e3", "0x10", "1..2MiB", "NaN", "Inf"} {
		if n, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, expected an error", text, n)
		}
	}
}

func FuzzParseSizeAndFileNeverPanic(f *testing.F) {
	f.Add("512MiB")
	f.Add("commit: {interval: 1s}\nbrokers: [a:1]")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseSize(s); err == nil && n < 0 {
			t.Errorf("ParseSize(%q) = %d", s, n)
		}
		if doc, err := parseYAML("f", []byte(s)); err == nil && doc != nil {
			walk(doc, "", func(_ string, n *yaml.Node) { _, _ = scalar(n) })
		}
	})
}

func TestValidateNamesEverySettingThatDoesNotFit(t *testing.T) {
	t.Parallel()
	secret := writeFile(t, "x")
	for name, tc := range map[string]struct {
		change func(*Config)
		blame  string
	}{
		"app id":              {func(c *Config) { c.AppID = "my app" }, "app.id"},
		"lanes":               {func(c *Config) { c.Lanes = -1 }, "lanes"},
		"guarantee":           {func(c *Config) { c.Guarantee = "" }, "guarantee"},
		"no broker":           {func(c *Config) { c.Brokers = nil }, "brokers"},
		"broker without port": {func(c *Config) { c.Brokers = []string{"kafka"} }, "brokers"},
		"broker port":         {func(c *Config) { c.Brokers = []string{"kafka:99999"} }, "brokers"},
		"session":             {func(c *Config) { c.SessionTimeout = 0 }, "session.timeout"},
		"tls file":            {func(c *Config) { c.TLS = true; c.TLSCAFile = "/none" }, "tls.ca-file"},
		"tls off":             {func(c *Config) { c.TLSCAFile = secret }, "tls.ca-file"},
		"half a certificate":  {func(c *Config) { c.TLS = true; c.TLSCertFile = secret }, "tls.cert-file"},
		"sasl user":           {func(c *Config) { c.SASLMechanism = "scram-sha-512"; c.SASLPasswordFile = secret }, "sasl.user"},
		"sasl password":       {func(c *Config) { c.SASLMechanism = "scram-sha-512"; c.SASLUser = "u" }, "sasl.password-file"},
		"sasl without kind":   {func(c *Config) { c.SASLUser = "u" }, "sasl.user"},
		"token for scram": {func(c *Config) {
			c.SASLMechanism, c.SASLUser, c.SASLPasswordFile, c.SASLTokenFile = "scram-sha-512", "u", secret, secret
		}, "sasl.token-file"},
		"no token":            {func(c *Config) { c.SASLMechanism = "oauthbearer" }, "sasl.mechanism"},
		"two tokens":          {func(c *Config) { oauth(c, secret); c.SASLTokenFile = secret }, "sasl.mechanism"},
		"scopes of a file":    {func(c *Config) { oauth(c, secret); c.SASLTokenURL, c.SASLTokenFile = "", secret }, "sasl.token-file"},
		"no client id":        {func(c *Config) { oauth(c, secret); c.SASLClientID = "" }, "sasl.oauth-client-id"},
		"no client secret":    {func(c *Config) { oauth(c, secret); c.SASLClientSecretFile = "" }, "sasl.oauth-client-secret-file"},
		"token in the clear":  {func(c *Config) { oauth(c, secret); c.SASLTokenURL = "http://idp/token" }, "sasl.oauth-token-url"},
		"secret in the URL":   {func(c *Config) { oauth(c, secret); c.SASLTokenURL = "https://a:b@idp/token" }, "sasl.oauth-token-url"},
		"extension":           {func(c *Config) { oauth(c, secret); c.SASLExtensions = []string{"auth=x"} }, "sasl.extensions"},
		"aws in the clear":    {func(c *Config) { c.SASLMechanism = "aws-msk-iam" }, "sasl.mechanism"},
		"patience":            {func(c *Config) { c.AuthenticationTimeout = 0 }, "authentication.timeout"},
		"bearer in the clear": {func(c *Config) { oauth(c, secret); c.Brokers = []string{"kafka:9092"} }, "sasl.mechanism"},
		"plain in the clear": {func(c *Config) {
			c.SASLMechanism, c.SASLUser, c.SASLPasswordFile, c.Brokers = "plain", "u", secret, []string{"kafka:9092"}
		}, "sasl.mechanism"},
		"floor":                         {func(c *Config) { c.CommitFloor = time.Second }, "commit.floor"},
		"interval":                      {func(c *Config) { c.CommitInterval = time.Minute }, "commit.interval"},
		"epoch records":                 {func(c *Config) { c.EpochMaxRecords = 0 }, "epoch.max-records"},
		"fetch share":                   {func(c *Config) { c.FetchMaxPartitionBytes = 64 << 20 }, "fetch.max-partition-bytes"},
		"buffer":                        {func(c *Config) { c.ProduceBufferBytes = 100 << 10 }, "produce.buffer-bytes"},
		"changelog record":              {func(c *Config) { c.ChangelogMaxRecordBytes = 2 << 20 }, "changelog.max-record-bytes"},
		"replication":                   {func(c *Config) { c.ReplicationFactor = 0 }, "internal.replication-factor"},
		"state dir":                     {func(c *Config) { c.StateDir = "" }, "state.dir"},
		"memory":                        {func(c *Config) { c.Memory = 1 << 20 }, "memory"},
		"store scheme":                  {func(c *Config) { c.StoreURL = "ftp://x" }, "store.url"},
		"keys alone":                    {func(c *Config) { c.StoreURL, c.StoreKeysFile = "", "keys" }, "store.encryption-keys-file"},
		"kept":                          {func(c *Config) { c.CheckpointsKept = 0 }, "checkpoints.kept"},
		"kept for":                      {func(c *Config) { c.CheckpointsKeptFor = -1 }, "checkpoints.kept-for"},
		"http":                          {func(c *Config) { c.HTTPAddress = "0.0.0.0:8080" }, "http.address"},
		"http with tokens in the clear": {func(c *Config) { c.HTTPAddress, c.APITokensFile = "0.0.0.0:8080", secret }, "http.address"},
		"http with TLS for everybody": {func(c *Config) {
			c.HTTPAddress, c.APITLSCertFile, c.APITLSKeyFile = "0.0.0.0:8080", secret, secret
		}, "http.address"},
		"api certificate":   {func(c *Config) { c.APITLSCertFile = secret }, "api.tls-cert-file"},
		"api clients":       {func(c *Config) { c.APITLSClientCAFile = secret }, "api.tls-client-ca-file"},
		"api tokens":        {func(c *Config) { c.APITokensFile = "/none" }, "api.tokens-file"},
		"http without host": {func(c *Config) { c.HTTPAddress = ":8080" }, "http.address"},
		"pprof":             {func(c *Config) { c.PprofAddress = "6060" }, "pprof.address"},
	} {
		c := valid(t)
		tc.change(c)
		var invalid *InvalidError
		if !errors.As(c.Validate(), &invalid) || len(invalid.Problems) != 1 || invalid.Problems[0].Setting != tc.blame {
			t.Errorf("%s: got %v, expected one problem with %s", name, invalid, tc.blame)
		}
	}
}

func TestSeveralProblemsAreReportedTogether(t *testing.T) {
	t.Parallel()
	c := Default()
	c.Brokers, c.Memory, c.HTTPAddress = nil, 1, "0.0.0.0:1"
	var invalid *InvalidError
	if !errors.As(c.Validate(), &invalid) || len(invalid.Problems) != 3 {
		t.Errorf("got %v", invalid)
	}
}

func TestPasswordInAStoreURLIsRefusedWithoutBeingPrinted(t *testing.T) {
	t.Parallel()
	for _, u := range []string{"s3://key:hunter2@bucket/x", "s3://key:hunter2@[bucket/%zz"} {
		c := valid(t)
		c.StoreURL = u
		if err := c.Validate(); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
	}
}

// oauth sets what the client credentials flow needs.
func oauth(c *Config, secret string) {
	c.SASLMechanism, c.SASLTokenURL, c.SASLClientID, c.SASLClientSecretFile = "oauthbearer", "https://idp/token", "id", secret
	c.SASLScopes, c.SASLExtensions = []string{"kafka"}, []string{"logicalCluster=lkc-1"}
}

func TestEveryMechanismCanBeValid(t *testing.T) {
	t.Parallel()
	secret := writeFile(t, "x")
	for name, change := range map[string]func(*Config){
		"plain":              func(c *Config) { c.SASLMechanism, c.SASLUser, c.SASLPasswordFile = "plain", "u", secret },
		"scram":              func(c *Config) { c.SASLMechanism, c.SASLUser, c.SASLPasswordFile = "scram-sha-256", "u", secret },
		"client credentials": func(c *Config) { oauth(c, secret) },
		"loopback endpoint":  func(c *Config) { oauth(c, secret); c.SASLTokenURL = "http://127.0.0.1:1/token" },
		"token file":         func(c *Config) { c.SASLMechanism, c.SASLTokenFile = "oauthbearer", secret },
		"aws":                func(c *Config) { c.SASLMechanism, c.TLS = "aws-msk-iam", true },
		"clear by consent":   func(c *Config) { oauth(c, secret); c.Brokers, c.Insecure = []string{"kafka:9092"}, true },
	} {
		c := valid(t)
		change(c)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAURLWithCredentialsIsNotShown(t *testing.T) {
	t.Parallel()
	c := valid(t)
	c.StoreURL, c.SASLTokenURL = "s3://key:hunter2@bucket/x", "https://id:hunter2@idp/token"
	for _, name := range []string{"store.url", "sasl.oauth-token-url"} {
		if got := c.Text(name); got != redacted {
			t.Errorf("%s: %s", name, got)
		}
	}
	c.StoreURL = "s3://bucket/a@b?region=x"
	if got := c.Text("store.url"); got != c.StoreURL {
		t.Errorf("got %s", got)
	}
}

func TestInsecureAllowsOtherMachines(t *testing.T) {
	t.Parallel()
	c := valid(t)
	c.HTTPAddress, c.Insecure = ":8080", true
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestMemoryBudgetIsTakenFromTheTightestLimit(t *testing.T) {
	t.Parallel()
	const meminfo = "MemTotal:       16777216 kB\nMemFree: 1 kB\n"
	for name, tc := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"cgroup v2":             {map[string]string{"/proc/meminfo": meminfo, "/sys/fs/cgroup/memory.max": "1000000000\n"}, 800_000_000},
		"cgroup v1":             {map[string]string{"/proc/meminfo": meminfo, "/sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000000\n"}, 800_000_000},
		"cgroup v2 without max": {map[string]string{"/proc/meminfo": meminfo, "/sys/fs/cgroup/memory.max": "max\n"}, 8 << 30},
		"cgroup v1 without max": {map[string]string{"/proc/meminfo": meminfo, "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 8 << 30},
		"no cgroup":             {map[string]string{"/proc/meminfo": meminfo}, 8 << 30},
	} {
		got, err := detectMemory(func(path string) ([]byte, error) {
			if s, ok := tc.files[path]; ok {
				return []byte(s), nil
			}
			return nil, os.ErrNotExist
		})
		if err != nil || got.Bytes != tc.want {
			t.Errorf("%s: got %v, %v, expected %d", name, got, err, tc.want)
		}
	}
	if _, err := detectMemory(func(string) ([]byte, error) { return nil, os.ErrNotExist }); err == nil {
		t.Error("unknown memory is not an error")
	}
	if b, err := (&Config{Memory: 1 << 30}).MemoryBudget(); err != nil || b.Bytes != 1<<30 {
		t.Errorf("got %v, %v", b, err)
	}
}
