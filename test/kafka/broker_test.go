// SPDX-License-Identifier: Apache-2.0

package kafkabroker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	kafkabroker "github.com/streamd/streamd/test/kafka"
)

// orphanDir names the data folder for the process that TestBrokerDiesWithItsProcess starts.
const orphanDir = "KAFKABROKER_ORPHAN_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(orphanDir); dir != "" {
		runOrphan(dir)
	}
	kafkabroker.Main(m)
}

// runOrphan starts a broker, tells its address and waits to be killed.
func runOrphan(dir string) {
	broker, err := kafkabroker.StartProcess(context.Background(), dir, 0)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(broker.Addr())
	select {}
}

func TestMissingJavaIsUnavailableWithAReason(t *testing.T) {
	t.Setenv("PATH", "")
	_, err := kafkabroker.Prepare(t.Context())
	if !errors.Is(err, kafkabroker.ErrUnavailable) || !strings.Contains(err.Error(), "java is not in PATH") {
		t.Errorf("without PATH: got error %v, want ErrUnavailable naming java", err)
	}
}

func TestProducedRecordsAreConsumed(t *testing.T) {
	t.Parallel()
	broker := kafkabroker.Shared(t)
	topic := broker.CreateTopic(t, 3)
	want := []string{"a", "b", "c", "d"}
	produce(t, broker.Client(t), topic, want...)
	got := consume(t, broker, topic, len(want))
	slices.Sort(got) // partitions are read in any order
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("consumed records (-want +got):\n%s", diff)
	}
}

func TestCommittedTransactionIsReadAndAbortedOneIsNot(t *testing.T) {
	t.Parallel()
	broker := kafkabroker.Shared(t)
	topic := broker.CreateTopic(t, 1)
	producer := broker.Client(t, kgo.TransactionalID(topic))
	transact(t, producer, topic, kgo.TryAbort, "aborted")
	transact(t, producer, topic, kgo.TryCommit, "committed")
	if diff := cmp.Diff([]string{"committed"}, consume(t, broker, topic, 1)); diff != "" {
		t.Errorf("records read committed (-want +got):\n%s", diff)
	}
}

func TestMissingTopicIsNotCreated(t *testing.T) {
	t.Parallel()
	client := kafkabroker.Shared(t).Client(t, kgo.UnknownTopicRetries(0))
	err := client.ProduceSync(t.Context(), kgo.StringRecord("x"), &kgo.Record{Topic: "missing"}).FirstErr()
	if err == nil {
		t.Error("producing to a missing topic succeeded")
	}
}

func TestShortSessionTimeoutIsAccepted(t *testing.T) {
	t.Parallel()
	broker := kafkabroker.Shared(t)
	topic := broker.CreateTopic(t, 1)
	produce(t, broker.Client(t), topic, "x")
	consumer := broker.Client(t, kgo.ConsumerGroup(topic), kgo.ConsumeTopics(topic),
		kgo.SessionTimeout(500*time.Millisecond), kgo.HeartbeatInterval(100*time.Millisecond))
	// The first group of a broker waits for its coordinator, of which the client tells.
	for ctx := deadline(t); ; {
		fetches := consumer.PollFetches(ctx)
		var session *kgo.ErrGroupSession
		if err := fetches.Err(); errors.As(err, &session) && kerr.IsRetriable(session.Err) {
			continue
		} else if err != nil || fetches.NumRecords() != 1 {
			t.Errorf("a group member with a session of 500 ms polled %d records, error %v; want 1", fetches.NumRecords(), err)
		}
		return
	}
}

func TestDataSurvivesKillAndRestart(t *testing.T) {
	t.Parallel()
	broker := kafkabroker.Start(t)
	topic := broker.CreateTopic(t, 1)
	transact(t, broker.Client(t, kgo.TransactionalID("before")), topic, kgo.TryCommit, "before the kill")
	addr := broker.Addr()

	if err := broker.Kill(); err != nil {
		t.Fatal(err)
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Fatalf("a killed broker still listens on %s", addr)
	}
	if err := broker.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	produce(t, broker.Client(t), topic, "after the kill")
	if err := broker.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}

	if broker.Addr() != addr {
		t.Errorf("the address changed from %s to %s", addr, broker.Addr())
	}
	want := []string{"before the kill", "after the kill"}
	if diff := cmp.Diff(want, consume(t, broker, topic, 2)); diff != "" {
		t.Errorf("records after a kill and two restarts (-want +got):\n%s", diff)
	}
}

func TestPropertyOfTheTestWins(t *testing.T) {
	t.Parallel()
	broker := kafkabroker.Start(t, kafkabroker.WithProperty("message.max.bytes", "1000"))
	topic := broker.CreateTopic(t, 1)
	client := broker.Client(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: make([]byte, 2000)}).FirstErr()
	if !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("producing 2000 bytes with a limit of 1000: got %v, want %v", err, kerr.MessageTooLarge)
	}
}

func TestBrokerThatCannotStartShowsItsLog(t *testing.T) {
	t.Parallel()
	kafkabroker.Shared(t) // skips where no broker can run
	_, err := kafkabroker.StartProcess(t.Context(), t.TempDir(), 0, kafkabroker.WithProperty("num.io.threads", "many"))
	if err == nil {
		t.Fatal("a broker with an impossible property started")
	}
	if errors.Is(err, kafkabroker.ErrUnavailable) || !strings.Contains(err.Error(), "num.io.threads") {
		t.Errorf("the error does not tell the reason: %v", err)
	}
}

func TestBrokerDiesWithItsProcess(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child that its parent has died")
	}
	kafkabroker.Shared(t) // skips where no broker can run
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), orphanDir+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("read the address: %v", err)
	}
	conn, err := net.Dial("tcp", strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the broker lives on after its process was killed")
	}
}

// deadline bounds a wait for records that may never come.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func produce(t *testing.T, client *kgo.Client, topic string, values ...string) {
	t.Helper()
	for _, v := range values {
		record := &kgo.Record{Topic: topic, Key: []byte(v), Value: []byte(v)}
		if err := client.ProduceSync(deadline(t), record).FirstErr(); err != nil {
			t.Fatalf("produce %q to %s: %v", v, topic, err)
		}
	}
}

func transact(t *testing.T, client *kgo.Client, topic string, end kgo.TransactionEndTry, value string) {
	t.Helper()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, client, topic, value)
	if err := client.EndTransaction(deadline(t), end); err != nil {
		t.Fatalf("end the transaction of %q: %v", value, err)
	}
}

// consume reads committed records from the start of a topic until it has n.
func consume(t *testing.T, broker *kafkabroker.Broker, topic string, n int) []string {
	t.Helper()
	client := broker.Client(t, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var values []string
	for ctx := deadline(t); len(values) < n; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("consume %s, %d of %d records read: %v", topic, len(values), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}
