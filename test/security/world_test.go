// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bytes"
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/streamd/streamd/engine"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	kafkabroker "github.com/streamd/streamd/test/kafka"
)

// topicsEnv names the beginning of the pipeline's topics, and makes this executable the pipeline's program.
const topicsEnv = "SECURITY_TEST_TOPICS"

func TestMain(m *testing.M) {
	if topics, ok := os.LookupEnv(topicsEnv); ok {
		engine.Main(pipeline(topics))
	}
	kafkabroker.Main(cleaning{m})
}

// cleaning deletes the package's certificates after the tests.
type cleaning struct{ tests interface{ Run() int } }

// Run implements what kafkabroker.Main runs.
func (c cleaning) Run() int {
	code := c.tests.Run()
	if files, err := certificates(); err == nil {
		err = os.RemoveAll(files.dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

type order struct {
	Customer string `json:"customer"`
}

// pipeline needs every kind of grant: it reads a stream and a table, has a repartition topic and a changelog, and writes
// results and dead letters.
func pipeline(topics string) *stream.Pipeline {
	p := stream.NewPipeline("secured")
	names := stream.GlobalTableFrom(p, topics+"names", codec.String, codec.String)
	stream.From(p, topics+"orders", codec.Bytes, codec.JSON[order](), stream.OnDecodeError(stream.DeadLetter(topics+"rejected"))).
		LeftJoinGlobal(names, func(_ []byte, o order) string { return o.Customer }, func(o order, name string, found bool) order {
			if found {
				o.Customer = name
			}
			return o
		}).
		KeyBy("by-customer", func(o order) string { return o.Customer }, codec.String).
		Group().
		Count("per-customer").
		Stream().
		To(topics + "counts")
	return p
}

// plainUsers are the users of PLAIN on the package's broker.
var plainUsers = map[string]string{"plain-user": "canary-of-plain"}

// certificates are those of the package's broker.
var certificates = sync.OnceValues(func() (folder, error) {
	dir, err := os.MkdirTemp("", "streamd-certificates-")
	if err != nil {
		return folder{}, err
	}
	return newFolder(dir)
})

// folder has the files of an authority.
type folder struct {
	dir       string
	authority *kafkabroker.Authority
}

func newFolder(dir string) (folder, error) {
	a, err := kafkabroker.NewAuthority("test")
	if err == nil {
		err = kafkabroker.WriteCertificates(dir, []string{"127.0.0.1", "localhost"}, a)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "ca.pem"), a.PEM, 0o600)
	}
	return folder{dir, a}, err
}

// worldNumber tells the worlds of this process apart.
var worldNumber atomic.Int64

// world is a test's own part of a broker.
type world struct {
	t      *testing.T
	ctx    context.Context
	broker *kafkabroker.Broker
	files  folder
	dir    string
	topics string // the beginning of the names of its topics
	app    string
	user   string
	admin  *kadm.Client
	client *kgo.Client
	env    []string
	// processes are all that the test has started.
	processes []*process
}

// newWorld makes one on the package's broker.
func newWorld(t *testing.T) *world {
	t.Helper()
	files, err := certificates()
	if err != nil {
		t.Fatal(err)
	}
	return worldOn(t, kafkabroker.Shared(t, kafkabroker.Secured(files.dir, plainUsers)...), files)
}

func worldOn(t *testing.T, broker *kafkabroker.Broker, files folder) *world {
	t.Helper()
	n := worldNumber.Add(1)
	w := &world{t: t, broker: broker, files: files, dir: t.TempDir(), topics: fmt.Sprintf("w%d.", n), app: fmt.Sprintf("app%d", n), user: fmt.Sprintf("user%d", n)}
	var cancel context.CancelFunc
	w.ctx, cancel = context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	w.client = broker.Client(t, kgo.ConsumeTopics(w.topics+"counts"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	w.admin = kadm.NewClient(w.client)
	for name, partitions := range map[string]int32{"orders": 2, "names": 1, "counts": 2, "rejected": 1} {
		if _, err := w.admin.CreateTopic(w.ctx, partitions, 1, nil, w.topics+name); err != nil {
			t.Fatal(err)
		}
	}
	w.env = []string{
		topicsEnv + "=" + w.topics, "PATH=" + os.Getenv("PATH"), "HOME=" + w.dir,
		"STREAMD_APP_ID=" + w.app, "STREAMD_STORE_URL=file://" + filepath.Join(w.dir, "store"), "STREAMD_STATE_DIR=" + filepath.Join(w.dir, "state"),
		"STREAMD_HTTP_ADDRESS=", "STREAMD_PPROF_ADDRESS=", "STREAMD_MEMORY=256MiB", "STREAMD_CHECKPOINT_INTERVAL=500ms", "STREAMD_LOG_LEVEL=debug",
		"STREAMD_LOG_FORMAT=json", "STREAMD_SESSION_TIMEOUT=3s", "STREAMD_REQUEST_TIMEOUT=10s",
	}
	w.put("names", "a", "Ada")
	return w
}

// set adds settings, as name=value of their environment variables without the prefix.
func (w *world) set(settings ...string) {
	for _, s := range settings {
		w.env = append(w.env, "STREAMD_"+s)
	}
}

// write puts a secret, or a certificate, into a file of the world.
func (w *world) write(name, content string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// tls has the program speak TLS to a listener.
func (w *world) tls(listener string) {
	w.set("BROKERS="+w.broker.ListenerAddr(listener), "TLS_ENABLED=true", "TLS_CA_FILE="+filepath.Join(w.files.dir, "ca.pem"))
}

// scram has the program authenticate by SCRAM-SHA-512 over TLS, with a user that it makes.
func (w *world) scram(password string) {
	w.t.Helper()
	w.tls(kafkabroker.SASLListener)
	w.setPassword(password)
	w.set("SASL_MECHANISM=scram-sha-512", "SASL_USER="+w.user, "SASL_PASSWORD_FILE="+w.write("password", password+"\n"))
}

// setPassword tells the broker the user's password.
func (w *world) setPassword(password string) {
	w.t.Helper()
	for _, mechanism := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
		altered, err := w.admin.AlterUserSCRAMs(w.ctx, nil, []kadm.UpsertSCRAM{{User: w.user, Mechanism: mechanism, Iterations: 4096, Password: password}})
		if err == nil {
			err = altered.Error()
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// orders feeds n orders of one customer, and one that cannot be decoded.
func (w *world) orders(n int, customer string) {
	w.t.Helper()
	for range n {
		w.put("orders", "", fmt.Sprintf(`{"customer": %q}`, customer))
	}
	w.put("orders", "", "no order")
}

func (w *world) put(topic, key, value string) {
	w.t.Helper()
	r := &kgo.Record{Topic: w.topics + topic, Value: []byte(value)}
	if key != "" {
		r.Key = []byte(key)
	}
	if err := w.client.ProduceSync(w.ctx, r).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// counted waits until the pipeline has counted n orders of a customer, and fails where it has counted one twice.
func (w *world) counted(customer string, n int64) {
	w.t.Helper()
	for last := int64(0); last < n; {
		fetches := w.client.PollFetches(w.ctx)
		if err := fetches.Err(); err != nil {
			w.t.Fatalf("waited in vain for count %d of %s, the last is %d: %v", n, customer, last, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			got, err := codec.Int64.Decode(r.Value)
			if err != nil {
				w.t.Error(err)
			}
			if string(r.Key) == customer {
				last = got
			}
		})
		if last > n {
			w.t.Fatalf("counted %d orders of %s, there are %d", last, customer, n)
		}
	}
}

// process is a run of the program.
type process struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	output struct {
		sync.Mutex
		bytes.Buffer
	}
}

// Write keeps what the program prints.
func (p *process) Write(b []byte) (int, error) {
	p.output.Lock()
	defer p.output.Unlock()
	return p.output.Buffer.Write(b)
}

func (p *process) text() string {
	p.output.Lock()
	defer p.output.Unlock()
	return p.output.String()
}

// start runs a command of the program, which ends with the test. Its standard output goes to out too.
func (w *world) start(out io.Writer, args ...string) *process {
	w.t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], args...), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Dir, p.cmd.Stderr, p.cmd.Stdout = w.env, w.dir, p, io.MultiWriter(p, out)
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.processes = append(w.processes, p)
	go func() {
		_ = p.cmd.Wait() // ProcessState says how it went
		close(p.ended)
	}()
	w.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has ended already, or was to run until now
		<-p.ended
		if w.t.Failed() {
			w.t.Logf("%v:\n%s", args, tail(p.text()))
		}
	})
	return p
}

func tail(s string) string { return s[max(0, len(s)-6000):] }

// end sends a signal and waits for the end. It returns the exit code.
func (w *world) end(p *process, sig syscall.Signal) int {
	w.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		w.t.Error(err)
	}
	return w.code(p)
}

// code waits for the end.
func (w *world) code(p *process) int {
	w.t.Helper()
	select {
	case <-p.ended:
	case <-w.ctx.Done():
		_ = p.cmd.Process.Kill() // the test has failed already
		w.t.Errorf("%v does not end:\n%s", p.cmd.Args[1:], tail(p.text()))
		<-p.ended
	}
	return p.cmd.ProcessState.ExitCode()
}

// run runs a command to its end, and fails if its exit code or its words are others.
func (w *world) run(code int, args []string, says ...string) string {
	w.t.Helper()
	var out bytes.Buffer
	p := w.start(&out, args...)
	if got := w.code(p); got != code {
		w.t.Fatalf("%v: exit code %d, expected %d:\n%s", args, got, code, tail(p.text()))
	}
	for _, s := range says {
		if !strings.Contains(p.text(), s) {
			w.t.Errorf("%v does not say %q:\n%s", args, s, tail(p.text()))
		}
	}
	return out.String()
}

// says waits until the program has said something.
func (w *world) says(p *process, text string) {
	w.t.Helper()
	w.saysTimes(p, text, 1)
}

// saysTimes waits until the program has said something n times.
func (w *world) saysTimes(p *process, text string, n int) {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for times(p.text(), text) < n {
		select {
		case <-tick.C:
		case <-p.ended:
			if times(p.text(), text) < n {
				w.t.Fatalf("it ended without saying %q %d times:\n%s", text, n, tail(p.text()))
			}
		case <-w.ctx.Done():
			w.t.Fatalf("waited in vain for %q %d times:\n%s", text, n, tail(p.text()))
		}
	}
}

func times(s, text string) int { return strings.Count(s, text) }

// printed returns the grants that the program prints.
func (w *world) printed(args ...string) []kafka.Grant {
	w.t.Helper()
	var grants []kafka.Grant
	if err := json.Unmarshal([]byte(w.run(0, append([]string{"acl", "-o", "json"}, args...))), &grants); err != nil {
		w.t.Fatal(err)
	}
	return grants
}

var operations = map[kafka.Operation]kmsg.ACLOperation{
	kafka.Read: kmsg.ACLOperationRead, kafka.Write: kmsg.ACLOperationWrite, kafka.Create: kmsg.ACLOperationCreate,
	kafka.Delete: kmsg.ACLOperationDelete, kafka.Describe: kmsg.ACLOperationDescribe,
}

// builder describes the ACL of a grant to the world's user.
func (w *world) builder(g kafka.Grant) *kadm.ACLBuilder {
	b := kadm.NewACLs().Allow("User:" + w.user).AllowHosts("*").Operations(operations[g.Operation]).ResourcePatternType(kmsg.ACLResourcePatternTypeLiteral)
	if g.Prefixed {
		b.ResourcePatternType(kmsg.ACLResourcePatternTypePrefixed)
	}
	switch g.Resource {
	case kafka.TopicResource:
		b.Topics(g.Name)
	case kafka.GroupResource:
		b.Groups(g.Name)
	case kafka.TransactionalIDResource:
		b.TransactionalIDs(g.Name)
	default:
		w.t.Fatalf("grant %v is of no known kind", g)
	}
	return b
}

func (w *world) grant(grants ...kafka.Grant) {
	w.t.Helper()
	for _, g := range grants {
		created, err := w.admin.CreateACLs(w.ctx, w.builder(g))
		for _, c := range created {
			err = errors.Join(err, c.Err)
		}
		if err != nil {
			w.t.Fatalf("grant %v: %v", g, err)
		}
	}
}

func (w *world) revoke(g kafka.Grant) {
	w.t.Helper()
	deleted, err := w.admin.DeleteACLs(w.ctx, w.builder(g))
	for _, d := range deleted {
		err = errors.Join(err, d.Err)
	}
	if err != nil || len(deleted) == 0 || len(deleted[0].Deleted) != 1 {
		w.t.Fatalf("revoke %v: %v, %+v", g, err, deleted)
	}
}
