// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	kafkabroker "github.com/streamd/streamd/test/kafka"
)

// Scene is where a run takes place: a folder with a broker, and the faults that are found.
type Scene struct {
	// Dir has the folders logs, state, store and broker.
	Dir    string
	Broker *kafkabroker.Broker
	Faults Faults

	began      time.Time
	temporary  bool
	stopServer func() // of the object store
}

// Open makes the folder and starts the broker. An empty dir asks for a temporary folder whose name begins with that of the
// command.
func Open(ctx context.Context, command, dir string, options ...kafkabroker.Option) (*Scene, error) {
	s := &Scene{Dir: dir, began: time.Now(), temporary: dir == "", stopServer: func() {}}
	var err error
	if s.temporary {
		s.Dir, err = os.MkdirTemp("", command+"-")
	} else {
		s.Dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("make the folder of the run: %w", err)
	}
	for _, sub := range []string{"logs", "state", "store"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("make the folder of the run: %w", err)
		}
	}
	s.Say("logs and state are in %s", s.Dir)
	if s.Broker, err = kafkabroker.StartProcess(ctx, filepath.Join(s.Dir, "broker"), 0, options...); err != nil {
		return nil, err
	}
	s.Say("broker at %s", s.Broker.Addr())
	return s, nil
}

// Say prints a line of progress.
func (s *Scene) Say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", s.Took().Seconds(), fmt.Sprintf(format, args...))
}

// Took is how long the run has taken so far.
func (s *Scene) Took() time.Duration { return time.Since(s.began) }

// Close ends the broker and the object store. A temporary folder is removed unless it is to be kept.
func (s *Scene) Close(keep bool) error {
	err := s.Broker.Kill()
	s.stopServer()
	if s.temporary && !keep {
		err = errors.Join(err, os.RemoveAll(s.Dir))
	}
	return err
}

// CreateTopics makes topics with the partitions.
func (s *Scene) CreateTopics(ctx context.Context, partitions int, names ...string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Broker.Addr()))
	if err != nil {
		return err
	}
	defer cl.Close()
	resps, err := kadm.NewClient(cl).CreateTopics(ctx, int32(partitions), 1, nil, names...)
	if err == nil {
		err = resps.Error()
	}
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	return nil
}

// Wait lets some time pass.
func Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
