// SPDX-License-Identifier: Apache-2.0

package devbroker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// ErrInUse says that another process runs a broker on the same folder.
var ErrInUse = errors.New("another process uses this folder")

// Options of a broker. The zero value gives one in memory on a free port.
type Options struct {
	Dir  string // where the data is kept; created if missing; empty: in memory only
	Port int    // on 127.0.0.1; 0: a free one
}

// Broker is a running broker.
type Broker struct {
	cluster *kfake.Cluster
	log     *errorLog
	lock    *os.File // nil in memory
	close   sync.Once
}

// minSessionTimeout is below Kafka's 6s, so that a demo or a test of failover does not have to wait.
const minSessionTimeout = 100 * time.Millisecond

// Start starts a broker. The caller closes it.
func Start(o Options) (*Broker, error) {
	b := &Broker{log: &errorLog{}}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.Ports(o.Port),
		kfake.ClusterID("streamd-dev"),
		kfake.GroupMinSessionTimeout(minSessionTimeout),
		kfake.WithLogger(b.log),
	}
	if o.Dir != "" {
		lock, err := lockFolder(o.Dir)
		if err != nil {
			return nil, fmt.Errorf("start broker in %s: %w", o.Dir, err)
		}
		b.lock = lock
		opts = append(opts, kfake.DataDir(filepath.Join(o.Dir, "log")))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		b.unlock()
		return nil, fmt.Errorf("start broker on port %d: %w", o.Port, err)
	}
	b.cluster = cluster
	return b, nil
}

// Addr is where clients connect, as host:port.
func (b *Broker) Addr() string { return b.cluster.ListenAddrs()[0] }

// CreateTopics creates the topics that do not exist yet. A topic that exists with another number of partitions
// is an error.
func (b *Broker) CreateTopics(partitions int32, topics ...string) error {
	for _, t := range topics {
		if b.cluster.TopicInfo(t) == nil {
			if err := b.cluster.CreateTopic(t, partitions, nil); err != nil {
				return fmt.Errorf("create topic %s: %w", t, err)
			}
			continue
		}
		if got := len(b.cluster.PartitionInfos(t)); got != int(partitions) {
			return fmt.Errorf("create topic %s with %d partitions: it exists with %d", t, partitions, got)
		}
	}
	return nil
}

// Close stops the broker and writes its data to the folder. The error says that something was not written.
// Only the first call does anything.
func (b *Broker) Close() error {
	var err error
	b.close.Do(func() {
		b.log.forget() // what clients did before is not about the data
		b.cluster.Close()
		if err = b.log.first(); err != nil {
			err = fmt.Errorf("close broker: %w", err)
		}
		b.unlock()
	})
	return err
}

func (b *Broker) unlock() {
	if b.lock != nil {
		_ = b.lock.Close() // ends the lock; the file was never written
	}
}

// errorLog keeps the first error that the broker logs: it has no other way to say that data was not written.
type errorLog struct {
	mu struct {
		sync.Mutex
		err error
	}
}

// Logf implements kfake.Logger.
func (l *errorLog) Logf(level kfake.LogLevel, format string, args ...any) {
	if level != kfake.LogLevelError {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.err == nil {
		l.mu.err = fmt.Errorf(format, args...)
	}
}

func (l *errorLog) first() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.err
}

func (l *errorLog) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.err = nil
}
