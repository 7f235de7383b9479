// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrInvalid marks every error about the values of settings.
var ErrInvalid = errors.New("the configuration is not valid")

// Problem is one thing that is wrong with the settings.
type Problem struct {
	Setting string // "" when no setting of that name exists
	Origin  Origin // of the value
	Err     error
}

// InvalidError lists everything that is wrong.
type InvalidError struct{ Problems []Problem }

// Error puts each problem on a line of its own.
func (e *InvalidError) Error() string {
	var b strings.Builder
	b.WriteString(ErrInvalid.Error())
	for _, p := range e.Problems {
		b.WriteString("\n  ")
		if p.Setting != "" {
			b.WriteString(p.Setting + " ")
		}
		fmt.Fprintf(&b, "(%s): %s", p.Origin, p.Err)
	}
	return b.String()
}

// Is makes the error match ErrInvalid.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// Unwrap gives the problems' errors.
func (e *InvalidError) Unwrap() []error {
	var errs []error
	for _, p := range e.Problems {
		errs = append(errs, p.Err)
	}
	return errs
}

type problems []Problem

func (p *problems) add(setting string, o Origin, format string, args ...any) {
	*p = append(*p, Problem{setting, o, fmt.Errorf(format, args...)})
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return &InvalidError{p}
}

// Validate checks what a worker needs before it starts: that values are in their ranges and fit
// together. It reports all problems at once. It opens no connection.
func (c *Config) Validate() error {
	v := &validator{c: c}
	v.application()
	v.connection()
	v.security()
	v.placement()
	v.commits()
	v.transfer()
	v.state()
	v.addresses()
	v.queries()
	return v.problems.err()
}

// ValidateConnection checks only what a command needs that talks to Kafka but runs nothing.
func (c *Config) ValidateConnection() error {
	v := &validator{c: c}
	v.connection()
	v.security()
	return v.problems.err()
}

type validator struct {
	c        *Config
	problems problems
}

func (v *validator) bad(name, format string, args ...any) {
	v.problems.add(name, v.c.Origin(name), format, args...)
}

func (v *validator) atLeast(name string, got, low time.Duration) {
	if got < low {
		v.bad(name, "%s is too short: at least %s", got, low)
	}
}

func (v *validator) number(name string, got, low, high int64) {
	if got < low || got > high {
		v.bad(name, "%d is out of range: %d to %d", got, low, high)
	}
}

func (v *validator) size(name string, got, low, high int64) {
	if got < low || got > high {
		v.bad(name, "%s is out of range: %s to %s", FormatSize(got), FormatSize(low), FormatSize(high))
	}
}

// appID is what may stand in Kafka topic names, transactional ids and object names alike. The length leaves room
// for "<app>-<incarnation>-<step>-repartition" within Kafka's 249. A dot ends the application's part of a
// transactional id, so there is none in it.
var appID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,99}$`)

// ValidAppID says whether id can be the id of an application.
func ValidAppID(id string) bool { return appID.MatchString(id) }

func (v *validator) application() {
	if v.c.AppID != "" && !ValidAppID(v.c.AppID) {
		v.bad("app.id", "%q cannot be an application id: use up to 100 letters, digits, underscores and dashes, beginning with a letter or digit", v.c.AppID)
	}
	v.number("lanes", int64(v.c.Lanes), 0, 1024)
	if v.c.Guarantee != ExactlyOnce && v.c.Guarantee != AtLeastOnce {
		v.bad("guarantee", "%q is not known: use %s or %s", v.c.Guarantee, ExactlyOnce, AtLeastOnce)
	}
}

func (v *validator) connection() {
	c := v.c
	if len(c.Brokers) == 0 {
		v.bad("brokers", "there is none: name at least one, as host:port")
	}
	for _, b := range c.Brokers {
		if err := hostPort(b); err != nil {
			v.bad("brokers", "%q: %w", b, err)
		}
	}
	v.atLeast("session.timeout", c.SessionTimeout, 100*time.Millisecond)
	v.atLeast("heartbeat.interval", c.HeartbeatInterval, 10*time.Millisecond)
	v.atLeast("rebalance.timeout", c.RebalanceTimeout, time.Second)
	v.atLeast("request.timeout", c.RequestTimeout, time.Second)
}

func (v *validator) placement() {
	c := v.c
	v.number("standby.replicas", int64(c.StandbyReplicas), 0, 100)
	v.number("warmups", int64(c.WarmUps), 0, 1000)
	if c.WorkerEndpoint == "" || c.WorkerEndpoint == NoEndpoint {
		return
	}
	if u, err := url.Parse(c.WorkerEndpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
		v.bad("worker.endpoint", "%q is not the address of an HTTP API: write it as http://10.1.2.3:8080", c.WorkerEndpoint)
	}
}

// NoEndpoint as worker.endpoint says that other workers are told none.
const NoEndpoint = "none"

func hostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("expected host:port: %w", err)
	}
	if host == "" {
		return errors.New("expected host:port, but there is no host")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("port %q is not between 1 and 65535", port)
	}
	return nil
}

func (v *validator) file(name, path string) {
	if path == "" {
		return
	}
	if st, err := os.Stat(path); err != nil {
		v.bad(name, "%w", err)
	} else if st.IsDir() {
		v.bad(name, "%s is a folder, expected a file", path)
	}
}

func (v *validator) commits() {
	c := v.c
	v.atLeast("commit.interval", c.CommitInterval, time.Millisecond)
	if c.CommitFloor < 0 || c.CommitFloor > c.CommitInterval {
		v.bad("commit.floor", "%s is not between 0 and commit.interval (%s)", c.CommitFloor, c.CommitInterval)
	}
	v.atLeast("transaction.timeout", c.TransactionTimeout, time.Second)
	if c.CommitInterval > c.TransactionTimeout/4 {
		v.bad("commit.interval", "%s is more than a quarter of transaction.timeout (%s): a slow commit would be aborted by the broker", c.CommitInterval, c.TransactionTimeout)
	}
	v.number("epoch.max-records", int64(c.EpochMaxRecords), 1, 100_000_000)
	v.size("epoch.max-bytes", c.EpochMaxBytes, 64<<10, 4<<30)
}

func (v *validator) transfer() {
	c := v.c
	v.size("fetch.max-bytes", c.FetchMaxBytes, 1<<10, 1<<30)
	v.size("fetch.max-partition-bytes", c.FetchMaxPartitionBytes, 1<<10, 1<<30)
	if c.FetchMaxPartitionBytes > c.FetchMaxBytes {
		v.bad("fetch.max-partition-bytes", "%s is more than fetch.max-bytes (%s)", FormatSize(c.FetchMaxPartitionBytes), FormatSize(c.FetchMaxBytes))
	}
	v.atLeast("fetch.max-wait", c.FetchMaxWait, time.Millisecond)
	v.size("produce.batch-bytes", c.ProduceBatchBytes, 16<<10, 1<<30)
	v.size("produce.buffer-bytes", c.ProduceBufferBytes, 16<<10, 16<<30)
	if c.ProduceBufferBytes < c.ProduceBatchBytes {
		v.bad("produce.buffer-bytes", "%s is less than produce.batch-bytes (%s)", FormatSize(c.ProduceBufferBytes), FormatSize(c.ProduceBatchBytes))
	}
	v.number("repartition.partitions", int64(c.RepartitionPartitions), 0, 100_000)
	if c.ReplicationFactor != -1 {
		v.number("internal.replication-factor", int64(c.ReplicationFactor), 1, 100)
	}
	v.size("changelog.max-record-bytes", c.ChangelogMaxRecordBytes, 4<<10, 1<<30)
	if c.ChangelogMaxRecordBytes > c.MaxRecordBytes() {
		v.bad("changelog.max-record-bytes", "%s does not fit into produce.batch-bytes (%s) with its header", FormatSize(c.ChangelogMaxRecordBytes), FormatSize(c.ProduceBatchBytes))
	}
}

// recordOverheadBytes is more than the header of a batch (61 bytes) and of its only record can take.
const recordOverheadBytes = 512

// MaxRecordBytes is what the key, the value and the headers of a record may have to fit into a batch.
func (c *Config) MaxRecordBytes() int64 { return c.ProduceBatchBytes - recordOverheadBytes }

// MinMemoryBytes is the least that a worker runs in: below it a fetch buffer, a memtable and an epoch's arena
// leave nothing for a cache.
const MinMemoryBytes = 64 << 20

func (v *validator) state() {
	c := v.c
	if c.StateDir == "" {
		v.bad("state.dir", "it is empty: name a folder for local state")
	}
	if c.Memory != 0 && c.Memory < MinMemoryBytes {
		v.bad("memory", "%s is too little: at least %s, or 0 to take it from the limit of the process", FormatSize(c.Memory), FormatSize(MinMemoryBytes))
	}
	v.store()
	v.atLeast("checkpoint.interval", c.CheckpointInterval, 100*time.Millisecond)
	v.atLeast("checkpoint.timeout", c.CheckpointTimeout, time.Second)
	v.number("checkpoints.kept", int64(c.CheckpointsKept), 1, 10_000)
	v.atLeast("checkpoints.kept-for", c.CheckpointsKeptFor, 0)
	v.atLeast("drain.timeout", c.DrainTimeout, time.Second)
}

func (v *validator) store() {
	s := v.c.StoreURL
	if s == "" {
		if v.c.StoreKeysFile != "" {
			v.bad("store.encryption-keys-file", "there is no object store to encrypt: set store.url")
		}
		return
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		v.bad("store.url", "it is not a URL") // the text may hold a password: it is not repeated
	case u.User != nil:
		v.bad("store.url", "credentials do not belong in the URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use the workload's identity")
	case u.Scheme != "" && !slices.Contains([]string{"file", "s3", "gs", "azblob", "mem"}, u.Scheme):
		v.bad("store.url", "scheme %q is not known: use file, s3, gs, azblob or mem", u.Scheme)
	}
}

func (v *validator) addresses() {
	for _, a := range []struct{ name, addr string }{{"http.address", v.c.HTTPAddress}, {"pprof.address", v.c.PprofAddress}} {
		name, addr := a.name, a.addr
		if addr == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			v.bad(name, "%q: expected host:port: %w", addr, err)
			continue
		}
		if v.c.Insecure || !isRemote(addr) || name == "http.address" && v.c.APITLSCertFile != "" && v.c.Authenticates() {
			continue
		}
		if name == "http.address" {
			v.bad(name, "%s can be reached from other machines: set api.tls-cert-file and api.tls-key-file, and api.tokens-file or api.tls-client-ca-file; or use 127.0.0.1; or allow it as it is by --insecure", addr)
		} else {
			v.bad(name, "%s can be reached from other machines and has no authentication: use 127.0.0.1, or allow it by --insecure", addr)
		}
	}
	v.api()
}

// Authenticates says whether those who use the HTTP API must say who they are.
func (c *Config) Authenticates() bool { return c.APITokensFile != "" || c.APITLSClientCAFile != "" }

func (v *validator) api() {
	c := v.c
	v.file("api.tokens-file", c.APITokensFile)
	v.file("api.tls-cert-file", c.APITLSCertFile)
	v.file("api.tls-key-file", c.APITLSKeyFile)
	v.file("api.tls-client-ca-file", c.APITLSClientCAFile)
	v.file("api.peer-token-file", c.APIPeerTokenFile)
	v.file("api.peer-ca-file", c.APIPeerCAFile)
	if (c.APITLSCertFile == "") != (c.APITLSKeyFile == "") {
		v.bad("api.tls-cert-file", "TLS needs both api.tls-cert-file and api.tls-key-file")
	}
	if c.APITLSClientCAFile != "" && c.APITLSCertFile == "" {
		v.bad("api.tls-client-ca-file", "client certificates need TLS: set api.tls-cert-file and api.tls-key-file")
	}
}

// isRemote says whether host:port can be reached from another machine, as far as its text tells.
func isRemote(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return true
	}
	return isRemoteHost(host)
}

func isRemoteHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host != "localhost" && (err != nil || !ip.IsLoopback())
}

// queries keeps an answer below what the HTTP server waits for, and below what other workers read of it.
func (v *validator) queries() {
	c := v.c
	if c.QueryTimeout < time.Millisecond || c.QueryTimeout > 50*time.Second {
		v.bad("query.timeout", "%s is out of range: 1ms to 50s", c.QueryTimeout)
	}
	v.number("query.max-concurrent", int64(c.QueryMaxConcurrent), 1, 100_000)
	v.number("query.max-rows", int64(c.QueryMaxRows), 1, 1_000_000)
	v.size("query.max-bytes", c.QueryMaxBytes, 1<<10, 32<<20)
}
