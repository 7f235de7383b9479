// SPDX-License-Identifier: Apache-2.0

package kafkabroker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// prepareLimit bounds the first download of the jars, so that a test does not hang on a network that drops packets.
const prepareLimit = 5 * time.Minute

// topicNumber tells the topics of this process apart.
var topicNumber atomic.Int64

// shared is the broker of this test process; it exists between Main's start and end.
var shared struct {
	sync.Mutex
	running bool // Main runs
	dir     string
	broker  *Broker
	err     error
}

// Start starts a broker of the test's own, on free ports, with an empty data folder. It is killed and its data is
// deleted when the test ends. Where Java or the jars are missing the test is skipped (see the package's comment).
func Start(tb testing.TB, options ...Option) *Broker {
	tb.Helper()
	dir := tb.TempDir() // before the cleanup below, hence deleted after it
	broker, err := startForTest(dir, options...)
	check(tb, err)
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the end of the broker's log:\n%s", broker.logTail())
		}
		if err := broker.Kill(); err != nil {
			tb.Error(err)
		}
	})
	return broker
}

// Main is the body of the TestMain of a package whose tests use Shared: it runs the tests, ends the shared broker if
// one was started, and exits.
func Main(m interface{ Run() int }) {
	shared.Lock()
	shared.running = true
	shared.Unlock()
	code := m.Run()
	if err := endShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Shared returns the one broker of this test package, which the first call starts, with its options. Tests share it, also
// in parallel: they use topics, groups and transactional ids of their own, and do not stop it. The package's TestMain
// calls Main. Where Java or the jars are missing the test is skipped (see the package's comment).
func Shared(tb testing.TB, options ...Option) *Broker {
	tb.Helper()
	broker, err := startShared(options)
	check(tb, err)
	return broker
}

// Client returns a client of this broker, which is closed when the test ends. Options are added to the address.
func (b *Broker) Client(tb testing.TB, options ...kgo.Opt) *kgo.Client {
	tb.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.addr)}, options...)...)
	if err != nil {
		tb.Fatalf("make a client of %s: %v", b.addr, err)
	}
	tb.Cleanup(client.Close)
	return client
}

// CreateTopic makes a topic with a name that no other test has, and returns the name.
func (b *Broker) CreateTopic(tb testing.TB, partitions int32) string {
	tb.Helper()
	name := fmt.Sprintf("topic-%d-%d", os.Getpid(), topicNumber.Add(1))
	admin := kadm.NewClient(b.Client(tb))
	if _, err := admin.CreateTopic(tb.Context(), partitions, 1, nil, name); err != nil {
		tb.Fatalf("create topic %s with %d partitions: %v", name, partitions, err)
	}
	return name
}

func startShared(options []Option) (*Broker, error) {
	shared.Lock()
	defer shared.Unlock()
	if !shared.running {
		return nil, errors.New("kafkabroker.Shared: the package's TestMain must call kafkabroker.Main")
	}
	if shared.broker == nil && shared.err == nil {
		if shared.dir, shared.err = os.MkdirTemp("", "kafkabroker-"); shared.err == nil {
			shared.broker, shared.err = startForTest(shared.dir, options...)
		}
	}
	return shared.broker, shared.err
}

func endShared() error {
	shared.Lock()
	defer shared.Unlock()
	shared.running = false
	var err error
	if shared.broker != nil {
		err = shared.broker.Kill()
	}
	if shared.dir != "" {
		err = errors.Join(err, os.RemoveAll(shared.dir))
	}
	return err
}

func startForTest(dir string, options ...Option) (*Broker, error) {
	ctx, cancel := context.WithTimeout(context.Background(), prepareLimit)
	defer cancel()
	return StartProcess(ctx, dir, 0, options...)
}

// Require skips the test where no broker can run, or fails it where one must: for tests that start theirs by
// [StartProcess].
func Require(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), prepareLimit)
	defer cancel()
	_, err := Prepare(ctx)
	check(tb, err)
}

// check skips the test when this machine cannot run a broker, unless it must.
func check(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrUnavailable) && os.Getenv("REQUIRE_KAFKA") != "1":
		tb.Skip(err)
	default:
		tb.Fatal(err)
	}
}
