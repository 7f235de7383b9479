// SPDX-License-Identifier: Apache-2.0

// Command kafka runs a real Kafka broker until Ctrl-C and prints its address, for trying things out by hand. With
// --prepare it only fetches what a broker needs and says whether tests with a real broker can run here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	kafkabroker "github.com/streamd/streamd/test/kafka"
)

func main() {
	port := flag.Int("port", 19092, "listen on 127.0.0.1 on this `port` and the next; 0 chooses free ones")
	dir := flag.String("dir", filepath.Join(os.TempDir(), "streamd-kafka"), "keep the broker's data in this `folder`")
	prepare := flag.Bool("prepare", false, "fetch what a broker needs and exit")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *prepare {
		err = prepareJars(ctx)
	} else {
		err = run(ctx, *dir, *port)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "kafka:", err)
		os.Exit(1)
	}
}

func prepareJars(ctx context.Context) error {
	jars, err := kafkabroker.Prepare(ctx)
	switch {
	case err == nil:
		fmt.Println("kafka: the broker's jars are in", jars)
	case errors.Is(err, kafkabroker.ErrUnavailable) && os.Getenv("REQUIRE_KAFKA") != "1":
		fmt.Println("kafka: tests with a real broker will be skipped:", err)
		return nil
	}
	return err
}

func run(ctx context.Context, dir string, port int) error {
	broker, err := kafkabroker.StartProcess(ctx, dir, port)
	if err != nil {
		return err
	}
	fmt.Printf("%s\nkafka: data and log are in %s; Ctrl-C stops the broker\n", broker.Addr(), dir)
	<-ctx.Done()
	return broker.Stop()
}
