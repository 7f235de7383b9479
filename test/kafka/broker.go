// SPDX-License-Identifier: Apache-2.0

package kafkabroker

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

//go:embed server.properties.tmpl
var serverProperties string

//go:embed log4j2.properties
var logProperties []byte

var propertiesTemplate = template.Must(template.New("server.properties").Parse(serverProperties))

// The two properties files of a broker: of the whole node, and of its controller alone.
const (
	brokerProperties = "server.properties"
	fenceProperties  = "fence.properties"
)

const (
	startLimit = 90 * time.Second // about 2 s on an idle machine, 4 s after a kill
	stopLimit  = 30 * time.Second

	// A controller that is up fences at once. It does not at all if the broker was killed before it had registered.
	fenceLimit = 10 * time.Second

	// Ports are taken below the range from which Linux gives ports to outgoing connections, so that none of these
	// takes a broker's port while it is down.
	firstPort, lastPort = 20000, 31999

	// Another process may take a free port before the broker does; then another port is tried.
	portTries = 3
)

// Option changes how a broker is started.
type Option func(*config)

type config struct {
	extra     []property
	listeners []listener
}

type property struct{ Name, Value string }

// listener is one beside the plain one.
type listener struct {
	Name, Protocol string
	Port           int
	Advertised     string // empty: where it is
}

// WithProperty sets one of Kafka's broker properties and wins over this package's own setting of it.
func WithProperty(name, value string) Option {
	return func(c *config) { c.extra = append(c.extra, property{name, value}) }
}

// WithListener has the broker listen on one more port, with a protocol such as SASL_SSL. Its properties begin with
// "listener.name." and the name in small letters. [Broker.ListenerAddr] tells where it is.
func WithListener(name, protocol string) Option {
	return func(c *config) { c.listeners = append(c.listeners, listener{Name: name, Protocol: protocol}) }
}

// WithDetour has the broker listen on one more port, without security, and tell clients that come there to use the advertised
// address, host:port, which leads there in some way of the caller's.
func WithDetour(name, advertised string) Option {
	return func(c *config) {
		c.listeners = append(c.listeners, listener{Name: name, Protocol: "PLAINTEXT", Advertised: advertised})
	}
}

// Broker is one Kafka node on this machine. Its methods may be called at the same time.
type Broker struct {
	dir       string
	addr      string
	jars      string
	listeners []listener

	mu struct {
		sync.Mutex
		process *process // nil while the broker is down
	}
}

// StartProcess starts a broker whose data is in dir, which is made if it is missing and kept at the end: a later
// start in the same folder finds its topics again. It listens on 127.0.0.1 on port and, for its controller, on
// port+1, and after these on one for each further listener; port 0 chooses free ones. It returns when the broker answers. ctx bounds the start only; the broker
// runs until Stop or Kill. On a machine without Java or the jars the error is ErrUnavailable.
func StartProcess(ctx context.Context, dir string, port int, options ...Option) (*Broker, error) {
	jars, err := Prepare(ctx)
	if err != nil {
		return nil, err
	}
	var c config
	for _, option := range options {
		option(&c)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("resolve the broker's folder: %w", err)
	}
	b := &Broker{dir: dir, jars: jars, listeners: c.listeners}
	if port != 0 {
		err = b.start(ctx, port, c.extra)
	} else {
		err = b.startAnywhere(ctx, c.extra)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Broker) startAnywhere(ctx context.Context, extra []property) error {
	var err error
	for range portTries {
		port, portErr := freePorts(2 + len(b.listeners))
		if portErr != nil {
			return portErr
		}
		if err = b.start(ctx, port, extra); err == nil || !strings.Contains(err.Error(), "Address already in use") {
			return err
		}
	}
	return err
}

func (b *Broker) start(ctx context.Context, port int, extra []property) error {
	b.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for i := range b.listeners {
		b.listeners[i].Port = port + 2 + i
	}
	if err := b.configure(port, extra); err != nil {
		return err
	}
	if err := b.format(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.startLocked(ctx)
}

// Addr returns the bootstrap address, "127.0.0.1:port". It is the same after Restart.
func (b *Broker) Addr() string { return b.addr }

// ListenerAddr returns where a listener is that [WithListener] or [WithDetour] has added.
func (b *Broker) ListenerAddr(name string) string {
	for _, l := range b.listeners {
		if l.Name == name {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Port))
		}
	}
	return ""
}

// Stop ends the broker in order. It does nothing when the broker is down already.
func (b *Broker) Stop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.endLocked(func(p *process) error { return p.stop(stopLimit) })
}

// Kill ends the broker as kill -9 does, and returns when it is gone. It does nothing when the broker is down already.
func (b *Broker) Kill() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.endLocked((*process).kill)
}

// Restart starts the broker again with its data and its address, and returns when it answers. A broker that is up is
// stopped in order first. After a Kill it takes twice as long as after a Stop, because its controller starts alone
// first.
func (b *Broker) Restart(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.endLocked(func(p *process) error { return p.stop(stopLimit) }); err != nil {
		return err
	}
	return b.startLocked(ctx)
}

// logTail returns the end of what the running broker has logged, and nothing when it is down.
func (b *Broker) logTail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.process == nil {
		return ""
	}
	return b.mu.process.log.tail()
}

func (b *Broker) endLocked(end func(*process) error) error {
	p := b.mu.process
	if p == nil {
		return nil
	}
	b.mu.process = nil
	return end(p)
}

func (b *Broker) startLocked(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("%s have passed", startLimit))
	defer cancel()
	if err := b.fenceIfKilled(ctx); err != nil {
		return err
	}
	p, err := b.launch(ctx, brokerProperties)
	if err != nil {
		return fmt.Errorf("start a broker on %s: %w", b.addr, err)
	}
	if isClosed(p.log.fenced) {
		err = errors.New("it was fenced while it started, after which transactions may hang for ever")
	} else {
		err = b.ping(ctx)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start a broker on %s: %w", b.addr, err), p.kill())
	}
	b.mu.process = p
	return nil
}

// fenceIfKilled runs the controller of a node that was killed, alone and until it has fenced the node's broker.
//
// Without this the node would come up with its broker still registered, load its transaction coordinators, and be
// fenced when its old session ends. Kafka 4.1 to 4.3 (KAFKA-20734) then take partitions without a leader for deleted
// ones: a coordinator with markers still to write skips these, records the transaction as complete, and consumers
// of committed records wait for ever. A fenced broker loads its coordinators only when it has registered again.
func (b *Broker) fenceIfKilled(ctx context.Context) error {
	if !exists(b.file("data", "__cluster_metadata-0")) || exists(b.file("data", ".kafka_cleanshutdown")) {
		return nil // has never run, or was stopped in order
	}
	p, err := b.launch(ctx, fenceProperties)
	if err == nil {
		err = errors.Join(p.waitFenced(ctx, fenceLimit), p.stop(stopLimit))
	}
	if err != nil {
		return fmt.Errorf("fence the killed broker on %s: %w", b.addr, err)
	}
	return nil
}

// launch starts Kafka and returns when it says that it is up.
func (b *Broker) launch(ctx context.Context, properties string) (*process, error) {
	p, err := startProcess(b.dir, b.java("-Xms256m", "-Xmx1g", "kafka.Kafka", b.file(properties)))
	if err != nil {
		return nil, err
	}
	if err := p.waitReady(ctx); err != nil {
		return nil, errors.Join(err, p.kill())
	}
	return p, nil
}

// ping makes sure that a client is answered.
func (b *Broker) ping(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.addr))
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return fmt.Errorf("ask the broker for its metadata: %w", err)
	}
	return nil
}

// configure writes the broker's files, anew at each start: ports and properties may differ from the last.
func (b *Broker) configure(port int, extra []property) error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return fmt.Errorf("make the broker's folder: %w", err)
	}
	for _, name := range []string{brokerProperties, fenceProperties} {
		var text bytes.Buffer
		err := propertiesTemplate.Execute(&text, struct {
			FenceOnly            bool
			Port, ControllerPort int
			Data                 string
			Listeners            []listener
			Extra                []property
		}{name == fenceProperties, port, port + 1, b.file("data"), b.listeners, extra})
		if err != nil {
			return fmt.Errorf("fill in %s: %w", name, err)
		}
		if err := os.WriteFile(b.file(name), text.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write the broker's properties: %w", err)
		}
	}
	if err := os.WriteFile(b.file("log4j2.properties"), logProperties, 0o644); err != nil {
		return fmt.Errorf("write the broker's log properties: %w", err)
	}
	return nil
}

// format gives an empty folder a cluster id of its own, and leaves any other as it is.
func (b *Broker) format(ctx context.Context) error {
	if exists(b.file("data", "meta.properties")) {
		return nil
	}
	var id [16]byte
	rand.Read(id[:]) // never fails
	cmd := exec.CommandContext(ctx, "java", b.java("-Xmx128m", "kafka.tools.StorageTool", "format",
		"--cluster-id="+base64.RawURLEncoding.EncodeToString(id[:]), "--config", b.file(brokerProperties))...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("format the broker's data folder %s: %w: %s", b.file("data"), err, bytes.TrimSpace(out))
	}
	return nil
}

// java completes a command line of the virtual machine with the class path and the log configuration.
func (b *Broker) java(args ...string) []string {
	return append([]string{"-cp", filepath.Join(b.jars, "*"),
		"-Dlog4j2.configurationFile=" + b.file("log4j2.properties")}, args...)
}

func (b *Broker) file(names ...string) string {
	return filepath.Join(append([]string{b.dir}, names...)...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// freePorts finds a port that is free together with those after it, n in all.
func freePorts(n int) (int, error) {
	var tried []string
	for range 100 {
		port := firstPort + n*mathrand.IntN((lastPort-firstPort)/n)
		if allFree(port, n) {
			return port, nil
		}
		tried = append(tried, strconv.Itoa(port))
	}
	return 0, fmt.Errorf("find %d free ports: none at %s", n, strings.Join(tried, ", "))
}

func allFree(port, n int) bool {
	for i := range n {
		if !free(port + i) {
			return false
		}
	}
	return true
}

func free(port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}
