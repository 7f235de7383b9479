// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"

	"github.com/spf13/pflag"
)

// Setting describes one setting. The table of them is the only list of settings in the program.
type Setting struct {
	Name    string // "commit.interval"
	Group   string // heading in the reference
	Type    string // "duration", "size", "int", "bool", "text", "list", or the allowed words joined by "|"
	Default string // as it would be written in a file
	Doc     string // one or more sentences

	bind func(*Config) pflag.Value
}

// Flag is the setting's name on a command line, without the dashes.
func (s Setting) Flag() string { return strings.ReplaceAll(s.Name, ".", "-") }

// Env is the setting's environment variable.
func (s Setting) Env() string {
	return EnvPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(s.Name))
}

// EnvPrefix begins the name of every environment variable that streamd reads as a setting.
const EnvPrefix = "STREAMD_"

// Lookup finds a setting by name.
func Lookup(name string) (Setting, bool) {
	for _, s := range Settings() {
		if s.Name == name {
			return s, true
		}
	}
	return Setting{}, false
}

// Settings returns the table, in the order of the reference. The slice is the caller's.
func Settings() []Setting {
	var all []Setting
	for _, g := range []struct {
		name string
		rows []Setting
	}{
		{"Application", applicationSettings()},
		{"Kafka connection", connectionSettings()},
		{"Kafka security", securitySettings()},
		{"Placement", placementSettings()},
		{"Commits", commitSettings()},
		{"Fetching and producing", transferSettings()},
		{"Internal topics", topicSettings()},
		{"State and checkpoints", stateSettings()},
		{"HTTP and logs", serviceSettings()},
		{"Interactive queries", querySettings()},
		{"HTTP API", apiSettings()},
	} {
		for _, s := range g.rows {
			s.Group = g.name
			s.Type = s.bind(&Config{}).Type()
			all = append(all, s)
		}
	}
	return all
}

func applicationSettings() []Setting {
	return []Setting{
		{Name: "app.id", Doc: "Identity of the application: its consumer group, transactional ids, internal topics and checkpoints. Empty: the pipeline's name. Two applications that share a Kafka cluster or an object store need different ids.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.AppID) }},
		{Name: "guarantee", Default: string(ExactlyOnce), Doc: "What is promised for each input record: exactly-once (Kafka transactions) or at-least-once (the same machinery without them: after a crash some outputs are repeated).",
			bind: func(c *Config) pflag.Value {
				return &wordValue{(*string)(&c.Guarantee), []string{string(ExactlyOnce), string(AtLeastOnce)}}
			}},
		{Name: "lanes", Default: "0", Doc: "How many tasks are processed at the same time. 0: one lane for each CPU that the process may use.",
			bind: func(c *Config) pflag.Value { return (*intValue)(&c.Lanes) }},
	}
}

func connectionSettings() []Setting {
	return []Setting{
		{Name: "brokers", Default: "127.0.0.1:9092", Doc: "Kafka brokers to begin with, as host:port, separated by commas.",
			bind: func(c *Config) pflag.Value { return (*listValue)(&c.Brokers) }},
		{Name: "client.id", Default: "streamd", Doc: "Name of this client in the broker's logs, metrics and quotas.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.ClientID) }},
		{Name: "session.timeout", Default: "10s", Doc: "A worker that the brokers have not heard from for this long is taken for dead and its tasks are given to others. Lower: faster failover; below 6s the brokers' group.min.session.timeout.ms has to be lowered too.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.SessionTimeout) }},
		{Name: "heartbeat.interval", Default: "300ms", Doc: "How often a worker tells the brokers that it is alive. The answer tells it of a rebalance: a task that moves waits for the slowest to hear of it. Never more seldom than four times in session.timeout.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.HeartbeatInterval) }},
		{Name: "rebalance.timeout", Default: "60s", Doc: "How long a worker has to give up tasks that go to another worker.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.RebalanceTimeout) }},
		{Name: "request.timeout", Default: "30s", Doc: "How long one request to a broker may be retried before it counts as failed.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.RequestTimeout) }},
	}
}

func securitySettings() []Setting {
	return []Setting{
		{Name: "tls.enabled", Default: "false", Doc: "Speak TLS to the brokers.",
			bind: func(c *Config) pflag.Value { return (*boolValue)(&c.TLS) }},
		{Name: "tls.ca-file", Doc: "PEM file of the certificate authorities to trust. Empty: those of the system. Read anew for each connection.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.TLSCAFile) }},
		{Name: "tls.cert-file", Doc: "PEM file of the client certificate, for mutual TLS. Read anew for each connection.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.TLSCertFile) }},
		{Name: "tls.key-file", Doc: "PEM file of the client certificate's private key.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.TLSKeyFile) }},
		{Name: "tls.server-name", Doc: "Name to expect in the brokers' certificates. Empty: the host name of each broker.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.TLSServerName) }},
		{Name: "sasl.mechanism", Default: string(SASLNone), Doc: "How to authenticate to the brokers. oauthbearer takes its token from sasl.token-file or from sasl.oauth-token-url; aws-msk-iam takes credentials from where AWS's own tools find them (environment, shared file, web identity, container, instance).",
			bind: func(c *Config) pflag.Value { return &wordValue{&c.SASLMechanism, SASLMechanisms()} }},
		{Name: "sasl.user", Doc: "User name, for plain and scram.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.SASLUser) }},
		{Name: "sasl.password-file", Doc: "File that holds the password, for plain and scram. Read anew for each connection; a line break at its end is ignored. There is no setting that takes the password itself, so that it cannot end up in a process list or a log.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.SASLPasswordFile) }},
		{Name: "sasl.token-file", Doc: "File that holds the token, for oauthbearer. Read anew for each connection and each re-authentication, so that whoever writes the file may replace it at any time.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.SASLTokenFile) }},
		{Name: "sasl.oauth-token-url", Doc: "Token endpoint, for oauthbearer by client credentials. https, or http on this machine. A token is used until shortly before it expires.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.SASLTokenURL) }},
		{Name: "sasl.oauth-client-id", Doc: "Client id for sasl.oauth-token-url.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.SASLClientID) }},
		{Name: "sasl.oauth-client-secret-file", Doc: "File that holds the client secret for sasl.oauth-token-url. Read anew for each token.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.SASLClientSecretFile) }},
		{Name: "sasl.oauth-scopes", Doc: "Scopes to ask for at sasl.oauth-token-url, separated by commas.",
			bind: func(c *Config) pflag.Value { return (*listValue)(&c.SASLScopes) }},
		{Name: "sasl.extensions", Doc: "What to send beside the token, for oauthbearer, as name=value separated by commas. No secrets: they are printed like other settings.",
			bind: func(c *Config) pflag.Value { return (*listValue)(&c.SASLExtensions) }},
		{Name: "authentication.timeout", Default: "2m", Doc: "How long a running worker goes on trying when brokers refuse its credentials or either side's certificate: a new secret may have reached only one of them. Then it exits with code 7. At its start a worker does not wait.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.AuthenticationTimeout) }},
	}
}

func placementSettings() []Setting {
	return []Setting{
		{Name: "standby.replicas", Default: "0", Doc: "How many workers besides its owner keep the state of each stateful task near to the present: one of them takes the task over at once when its owner dies, and they answer queries meanwhile. Each costs the disk and the changelog traffic of its state.",
			bind: func(c *Config) pflag.Value { return (*intValue)(&c.StandbyReplicas) }},
		{Name: "warmups", Default: "4", Doc: "How many tasks may be warmed up at a time, in the whole application, to balance the load: a worker that is to get a stateful task first brings its state near to the present, while the task's owner goes on. Those of a worker that is about to end do not count. 0: tasks move only when their owner ends.",
			bind: func(c *Config) pflag.Value { return (*intValue)(&c.WarmUps) }},
		{Name: "worker.zone", Doc: "Failure domain of this worker, as a zone of the cloud or a rack. Standbys are kept in other zones than the owner where that is possible.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.WorkerZone) }},
		{Name: "worker.endpoint", Doc: "URL at which other workers reach this one's HTTP API, as http://10.1.2.3:8080. Empty: that of http.address, which others on this machine can reach. \"none\": they are told none.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.WorkerEndpoint) }},
	}
}

func commitSettings() []Setting {
	return []Setting{
		{Name: "commit.interval", Default: "100ms", Doc: "Longest time between two commits under load. Longer: fewer and larger transactions, more coalescing of state changes, later outputs.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.CommitInterval) }},
		{Name: "commit.floor", Default: "10ms", Doc: "Shortest time between two commits. At low load a worker commits as soon as there is something to commit, but not more often than this.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.CommitFloor) }},
		{Name: "transaction.timeout", Default: "60s", Doc: "The broker aborts a transaction that is open for longer. Not above the brokers' transaction.max.timeout.ms.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.TransactionTimeout) }},
		{Name: "epoch.max-records", Default: "2000000", Doc: "Commit early when this many input records were processed since the last commit; with less than 2 GiB of memory, one for each KiB of it.",
			bind: func(c *Config) pflag.Value { return (*intValue)(&c.EpochMaxRecords) }},
		{Name: "epoch.max-bytes", Default: "64MiB", Doc: "Commit early when outputs and state changes of this size have gathered since the last commit.",
			bind: func(c *Config) pflag.Value { return (*sizeValue)(&c.EpochMaxBytes) }},
	}
}

func transferSettings() []Setting {
	return []Setting{
		{Name: "fetch.max-bytes", Default: "16MiB", Doc: "Largest response to one fetch.",
			bind: func(c *Config) pflag.Value { return (*sizeValue)(&c.FetchMaxBytes) }},
		{Name: "fetch.max-partition-bytes", Default: "1MiB", Doc: "Largest share of one partition in a response.",
			bind: func(c *Config) pflag.Value { return (*sizeValue)(&c.FetchMaxPartitionBytes) }},
		{Name: "fetch.max-wait", Default: "500ms", Doc: "How long a broker may hold a fetch while there is nothing to return. Records that arrive are returned at once.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.FetchMaxWait) }},
		{Name: "produce.buffer-bytes", Default: "64MiB", Doc: "Most that waits to be sent to brokers; processing waits when it is reached.",
			bind: func(c *Config) pflag.Value { return (*sizeValue)(&c.ProduceBufferBytes) }},
		{Name: "produce.batch-bytes", Default: "1MB", Doc: "Largest batch sent to a partition. Not above the topic's max.message.bytes (1048588 by default).",
			bind: func(c *Config) pflag.Value { return (*sizeValue)(&c.ProduceBatchBytes) }},
		{Name: "compression", Default: "lz4", Doc: "Compression of what is produced, changelogs included.",
			bind: func(c *Config) pflag.Value {
				return &wordValue{&c.Compression, []string{"none", "lz4", "snappy", "zstd"}}
			}},
	}
}

func topicSettings() []Setting {
	return []Setting{
		{Name: "repartition.partitions", Default: "0", Doc: "Partitions of a repartition topic when it is created. 0: as many as the widest input of the step that writes it. Fixed for the life of the application's state.",
			bind: func(c *Config) pflag.Value { return (*intValue)(&c.RepartitionPartitions) }},
		{Name: "internal.replication-factor", Default: "-1", Doc: "Replicas of changelog and repartition topics when they are created. -1: the brokers' default.",
			bind: func(c *Config) pflag.Value { return (*intValue)(&c.ReplicationFactor) }},
		{Name: "changelog.max-record-bytes", Default: "512KiB", Doc: "Largest record written to a changelog. State changes of one commit share records up to this size; a single state entry that is larger is an error.",
			bind: func(c *Config) pflag.Value { return (*sizeValue)(&c.ChangelogMaxRecordBytes) }},
	}
}

func stateSettings() []Setting {
	return []Setting{
		{Name: "state.dir", Default: "streamd-state", Doc: "Folder for local state. It is a cache: deleting it while the worker is down costs time, not data. One process at a time.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.StateDir) }},
		{Name: "state.kept-for", Default: "10m", Doc: "How long the state of a task that has moved to another worker stays on this disk, in case it comes back.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.StateKeptFor) }},
		{Name: "memory", Default: "0", Doc: "Memory that the process should keep to. 0: 80 % of the cgroup's limit, or half of the machine's memory where there is no limit.",
			bind: func(c *Config) pflag.Value { return (*sizeValue)(&c.Memory) }},
		{Name: "store.url", Doc: "Object store for checkpoints: file:///folder, s3://bucket/prefix?endpoint=…&region=…, gs://bucket/prefix, azblob://container/prefix?account=…, or mem://name (tests). Credentials come from the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for example) or from the workload's identity, never from the URL. Empty: no checkpoints; recovery then replays whole changelogs, which grow without bound, and replay is not possible.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.StoreURL) }},
		{Name: "store.encryption-keys-file", Doc: "File of the keys with which checkpoints are encrypted before they are sent. Empty: they are sent as they are. All workers of an application need it, and an object store that has held checkpoints without it cannot be used with it.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.StoreKeysFile) }},
		{Name: "checkpoint.interval", Default: "30s", Doc: "How often state is checkpointed. Bounds how much changelog a recovery replays.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.CheckpointInterval) }},
		{Name: "checkpoint.timeout", Default: "10m", Doc: "How long a checkpoint may take before the next one is begun although it is not complete.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.CheckpointTimeout) }},
		{Name: "checkpoints.kept", Default: "3", Doc: "How many checkpoints are kept. Recovery falls back to an older one when an object of the newest is missing or corrupt.",
			bind: func(c *Config) pflag.Value { return (*intValue)(&c.CheckpointsKept) }},
		{Name: "checkpoints.kept-for", Default: "0s", Doc: "Checkpoints younger than this are kept too, however many they are, so that the application can be forked from or rolled back to them. 0s: the count alone decides. Those of a life before a rollback are kept for 7 days, or for this if it is longer.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.CheckpointsKeptFor) }},
		{Name: "drain.timeout", Default: "25s", Doc: "How long a worker may take to commit, checkpoint and leave after SIGTERM. Below Kubernetes' terminationGracePeriodSeconds.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.DrainTimeout) }},
	}
}

func serviceSettings() []Setting {
	return []Setting{
		{Name: "http.address", Default: "127.0.0.1:8080", Doc: "Address of health, metrics and API. Empty: none. If it was not set and the port is taken, a free port is used and logged; if it was set, a taken port is an error. An address that other machines can reach needs TLS and either api.tokens-file or api.tls-client-ca-file, or --insecure.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.HTTPAddress) }},
		{Name: "pprof.address", Default: "127.0.0.1:6060", Doc: "Address of Go's profiles, loopback only unless --insecure. Empty: none. A taken port is treated as for http.address.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.PprofAddress) }},
		{Name: "insecure", Default: "false", Doc: "Allow http.address and pprof.address to be reachable from other machines without TLS or authentication. Whoever comes without a token is then a viewer, unless api.tokens-file or api.tls-client-ca-file is set: restrict access by a NetworkPolicy. Passwords and tokens may be sent to brokers without TLS.",
			bind: func(c *Config) pflag.Value { return (*boolValue)(&c.Insecure) }},
		{Name: "log.level", Default: "info", Doc: "Least severe log lines to print.",
			bind: func(c *Config) pflag.Value {
				return &wordValue{&c.LogLevel, []string{"debug", "info", "warn", "error"}}
			}},
		{Name: "log.format", Default: "auto", Doc: "Form of log lines, which go to stderr. auto: console on a terminal, JSON elsewhere.",
			bind: func(c *Config) pflag.Value {
				return &wordValue{&c.LogFormat, []string{"auto", "console", "json"}}
			}},
	}
}

func apiSettings() []Setting {
	return []Setting{
		{Name: "api.tokens-file", Doc: "File of those who may use the HTTP API: a line `role name sha256:hash` for each token, or `role name cert:subject` for a client certificate; roles are viewer, operator, admin and peer. The command `api token new` makes a line. Read anew when it changes. Empty, and no api.tls-client-ca-file either: who can reach a loopback address may do everything.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.APITokensFile) }},
		{Name: "api.tls-cert-file", Doc: "PEM file of the certificate with which http.address speaks TLS. Empty: it speaks plain HTTP. Read anew when it changes.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.APITLSCertFile) }},
		{Name: "api.tls-key-file", Doc: "PEM file of that certificate's private key. Read anew when it changes.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.APITLSKeyFile) }},
		{Name: "api.tls-client-ca-file", Doc: "PEM file of the certificate authorities whose client certificates are accepted in place of a token. Read anew when it changes.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.APITLSClientCAFile) }},
		{Name: "api.tls-client-role", Default: "viewer", Doc: "Role of a client with such a certificate that no line of api.tokens-file names.",
			bind: func(c *Config) pflag.Value {
				return &wordValue{&c.APITLSClientRole, []string{"none", "viewer", "operator", "admin"}}
			}},
		{Name: "api.protect-metrics", Default: "false", Doc: "Ask for a viewer's token for /metrics, too. Health checks never need one.",
			bind: func(c *Config) pflag.Value { return (*boolValue)(&c.APIProtectMetrics) }},
		{Name: "api.peer-token-file", Doc: "File of the token by which workers know each other. All workers of an application have the same. If it has several lines, the first is sent and all are accepted, so that a token can be replaced in two steps. Read anew when it changes.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.APIPeerTokenFile) }},
		{Name: "api.peer-ca-file", Doc: "PEM file of the certificate authorities to trust in the certificates of other workers. Empty: those of the system. Read anew when it changes.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.APIPeerCAFile) }},
		{Name: "api.peer-server-name", Doc: "Name to expect in the certificates of other workers. Empty: the host by which they are called.",
			bind: func(c *Config) pflag.Value { return (*textValue)(&c.APIPeerServerName) }},
	}
}

func querySettings() []Setting {
	return []Setting{
		{Name: "query.timeout", Default: "10s", Doc: "Longest time that a query of state may take, waiting for a position or for a task that is being moved included. A caller may ask for less.",
			bind: func(c *Config) pflag.Value { return (*durationValue)(&c.QueryTimeout) }},
		{Name: "query.max-concurrent", Default: "512", Doc: "How many queries a worker answers at a time for callers, and as many again for other workers; more are refused with status 429.",
			bind: func(c *Config) pflag.Value { return (*intValue)(&c.QueryMaxConcurrent) }},
		{Name: "query.max-rows", Default: "1000", Doc: "Most rows of an answer; what follows is on a next page.",
			bind: func(c *Config) pflag.Value { return (*intValue)(&c.QueryMaxRows) }},
		{Name: "query.max-bytes", Default: "1MiB", Doc: "Largest size of the rows that a worker reads for an answer; what follows is on a next page, and a single entry that is larger is refused.",
			bind: func(c *Config) pflag.Value { return (*sizeValue)(&c.QueryMaxBytes) }},
	}
}
