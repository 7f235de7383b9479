// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/kafka"
)

// InternalTopic is a topic that the engine makes for an application.
type InternalTopic struct {
	Name       string `json:"name"`
	Partitions int32  `json:"partitions,omitzero"` // 0: not known
	Exists     bool   `json:"-"`
}

// InternalTopics returns the repartition topics and changelogs that the pipeline of the options has in a life of an
// application, with the numbers of partitions that they get, and whether they are there. It makes none. The pipeline's
// source topics must be there.
func InternalTopics(ctx context.Context, o Options, life checkpoint.Application) ([]InternalTopic, error) {
	w, err := New(o)
	if err != nil {
		return nil, err
	}
	defer func() {
		w.cease(errHalted)
		w.release()
	}()
	if w.cluster, err = kafka.Connect(ctx, w.cfg); err != nil {
		return nil, err
	}
	w.adopt(life)
	w.names.App = life.App
	if err := w.resolveTopics(ctx, w.userSources()); err != nil {
		return nil, err
	}
	want := w.internalTopics()
	names := make([]string, len(want))
	for i, t := range want {
		names[i] = t.Name
	}
	there, err := w.cluster.Topics(ctx, names)
	if err != nil {
		return nil, err
	}
	topics := make([]InternalTopic, len(want))
	for i, t := range want {
		_, exists := there[t.Name]
		topics[i] = InternalTopic{t.Name, t.Partitions, exists}
	}
	return topics, nil
}
