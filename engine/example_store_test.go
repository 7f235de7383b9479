// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/devbroker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// A service that runs a worker of the pipeline looks up what the pipeline has counted. It asks for what reflects the order
// that it has just written.
func ExampleStoreOf() {
	broker, dir := must(devbroker.Start(devbroker.Options{})), must(os.MkdirTemp("", "orders-*"))
	defer os.RemoveAll(dir)
	defer broker.Close()
	check(broker.CreateTopics(1, "orders"))

	p := stream.NewPipeline("shop")
	stream.From(p, "orders", codec.String, codec.Int64).Group().Count("orders-per-customer")

	cfg := config.Default()
	cfg.Brokers, cfg.StateDir, cfg.HTTPAddress, cfg.PprofAddress, cfg.Memory = []string{broker.Addr()}, filepath.Join(dir, "state"), "", "", 256<<20
	app := must(engine.New(p, engine.WithConfig(cfg)))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- app.Run(ctx) }()

	producer := must(kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DefaultProduceTopic("orders")))
	defer producer.Close()
	var last *kgo.Record
	for range 3 {
		last = must(producer.ProduceSync(ctx, &kgo.Record{Key: []byte("alice"), Value: must(codec.Int64.Append(nil, 1))}).First())
	}

	orders := engine.StoreOf(app, "orders-per-customer", codec.String, codec.Int64)
	place := fmt.Sprintf("%s/%d@%d", last.Topic, last.Partition, last.Offset)
	found := must(orders.Get(ctx, "alice", engine.MinPosition(place)))
	fmt.Println("alice:", found.Value, "by the", found.At.Role)

	found = must(orders.Get(ctx, "bob", engine.MinPosition(found.At.Token)))
	fmt.Println("bob has ordered:", found.OK)
	for entry, err := range orders.Scan(ctx) {
		check(err)
		fmt.Println(entry.Key, entry.Value)
	}
	stop()
	check(<-ended)
	// Output:
	// alice: 3 by the owner
	// bob has ordered: false
	// alice 3
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
