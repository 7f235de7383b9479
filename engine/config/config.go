// SPDX-License-Identifier: Apache-2.0

package config

import (
	"regexp"
	"time"
)

// Guarantee says what a worker promises about each input record.
type Guarantee string

// The two guarantees. AtLeastOnce runs the same machinery without transactions.
const (
	ExactlyOnce Guarantee = "exactly-once"
	AtLeastOnce Guarantee = "at-least-once"
)

// Config is the value of every setting. Sizes are in bytes. What a field means, and its default, is said once,
// in the table of settings.
type Config struct {
	AppID     string
	Guarantee Guarantee
	Lanes     int // 0: GOMAXPROCS

	Brokers           []string
	ClientID          string
	SessionTimeout    time.Duration
	HeartbeatInterval time.Duration
	RebalanceTimeout  time.Duration
	RequestTimeout    time.Duration

	StandbyReplicas int
	WarmUps         int
	WorkerZone      string
	WorkerEndpoint  string

	TLS           bool
	TLSCAFile     string
	TLSCertFile   string
	TLSKeyFile    string
	TLSServerName string

	SASLMechanism         string // one of SASLMechanisms
	SASLUser              string
	SASLPasswordFile      string
	SASLTokenFile         string
	SASLTokenURL          string
	SASLClientID          string
	SASLClientSecretFile  string
	SASLScopes            []string
	SASLExtensions        []string // name=value
	AuthenticationTimeout time.Duration

	CommitInterval     time.Duration
	CommitFloor        time.Duration
	TransactionTimeout time.Duration
	EpochMaxRecords    int
	EpochMaxBytes      int64

	FetchMaxBytes          int64
	FetchMaxPartitionBytes int64
	FetchMaxWait           time.Duration
	ProduceBufferBytes     int64
	ProduceBatchBytes      int64
	Compression            string // "none", "lz4", "snappy", "zstd"

	RepartitionPartitions   int // 0: as many as the widest input of the step
	ReplicationFactor       int // of internal topics; -1: the broker's default
	ChangelogMaxRecordBytes int64

	StateDir           string
	StateKeptFor       time.Duration
	Memory             int64 // bytes; 0: from the limit of the process, see MemoryBudget
	StoreURL           string
	StoreKeysFile      string
	CheckpointInterval time.Duration
	CheckpointTimeout  time.Duration
	CheckpointsKept    int
	CheckpointsKeptFor time.Duration // 0: CheckpointsKept alone decides
	DrainTimeout       time.Duration

	HTTPAddress        string
	PprofAddress       string
	Insecure           bool
	APITokensFile      string
	APITLSCertFile     string
	APITLSKeyFile      string
	APITLSClientCAFile string
	APITLSClientRole   string // "none", "viewer", "operator", "admin"
	APIProtectMetrics  bool
	APIPeerTokenFile   string
	APIPeerCAFile      string
	APIPeerServerName  string

	QueryTimeout       time.Duration
	QueryMaxConcurrent int
	QueryMaxRows       int
	QueryMaxBytes      int64

	LogLevel  string
	LogFormat string

	origins map[string]Origin
}

// Default returns the configuration in which every setting has its default.
func Default() *Config {
	c := &Config{origins: map[string]Origin{}}
	for _, s := range Settings() {
		if err := s.bind(c).Set(s.Default); err != nil {
			panic("config: default of " + s.Name + ": " + err.Error()) // the table is wrong, which its test shows first
		}
	}
	return c
}

// Origin returns where the value of the named setting came from.
func (c *Config) Origin(name string) Origin {
	if o, ok := c.origins[name]; ok {
		return o
	}
	return Origin{Kind: FromDefault}
}

// IsDefault says that nobody has set the named setting.
func (c *Config) IsDefault(name string) bool { return c.Origin(name).Kind == FromDefault }

// Text returns the value of the named setting as it would be written in a file; "" for a name that does not exist. A URL
// with credentials, which no setting allows, is [redacted].
func (c *Config) Text(name string) string {
	s, ok := Lookup(name)
	if !ok {
		return ""
	}
	text := s.bind(c).String()
	if urlWithUser.MatchString(text) {
		return redacted
	}
	return text
}

var urlWithUser = regexp.MustCompile(`^[a-z0-9+.-]+://[^/?#]*@`)

// Kind is a place a value can come from.
type Kind string

// The origins of a value, strongest first.
const (
	FromFlag    Kind = "flag"
	FromEnv     Kind = "env"
	FromFile    Kind = "file"
	FromDefault Kind = "default"
)

// Origin is where a value came from: the kind, and the flag, variable or file:line that held it.
type Origin struct {
	Kind  Kind
	Where string
}

// String gives "flag --commit-interval", "file /etc/streamd.yaml:3" or "default".
func (o Origin) String() string {
	if o.Where == "" {
		return string(o.Kind)
	}
	return string(o.Kind) + " " + o.Where
}
