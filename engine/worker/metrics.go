// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/partition"
)

// metrics are the worker's Prometheus metrics. Counters are written by the loop; gauges are read at a scrape from
// what the loop publishes in Status.
type metrics struct {
	registry *prometheus.Registry

	rebalances, fences, commits, checkpoints, checkpointErrors, fallbacks prometheus.Counter
	checkpointBytes, restoreBytes                                         prometheus.Counter
	aborts, dropped, retried                                              *prometheus.CounterVec
	commitSeconds, epochRecords, checkpointSeconds, restoreSeconds        prometheus.Histogram
	checkpointPause                                                       prometheus.Histogram
	longestPause                                                          prometheus.Gauge
}

func newMetrics(w *Worker) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "streamd", Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "streamd", Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "streamd", Name: name, Help: help, Buckets: buckets})
		m.registry.MustRegister(h)
		return h
	}
	seconds := prometheus.ExponentialBuckets(0.001, 2, 16)
	m.rebalances = counter("rebalances_total", "Completed rebalances of the group, as this worker saw them.")
	m.fences = counter("fences_total", "Times that another worker took this one for dead.")
	m.commits = counter("commits_total", "Committed epochs.")
	m.aborts = vector("epoch_failures_total", "Epochs that were not committed, by the step that failed and what was known of it.", "step", "outcome")
	m.dropped = vector("records_dropped_total", "Records kept from the pipeline by a policy, by step, by what the step was doing, and by what became of them.", "step", "phase", "outcome")
	m.retried = vector("records_retried_total", "Further attempts of a step at a record that it failed on.", "step", "phase")
	m.commitSeconds = histogram("commit_seconds", "From the end of processing to the confirmed commit.", seconds)
	m.epochRecords = histogram("epoch_records", "Input records of an epoch.", prometheus.ExponentialBuckets(1, 4, 12))
	m.checkpoints = counter("checkpoints_total", "Task checkpoints stored.")
	m.checkpointErrors = counter("checkpoint_errors_total", "Task checkpoints that could not be stored.")
	m.checkpointBytes = counter("checkpoint_uploaded_bytes_total", "Bytes uploaded for checkpoints.")
	m.checkpointSeconds = histogram("checkpoint_seconds", "From the cut to the stored manifest, per task.", seconds)
	m.checkpointPause = histogram("checkpoint_pause_seconds", "How long a checkpoint kept a task from processing, beyond the commit that is its cut.", prometheus.ExponentialBuckets(0.0001, 2, 16))
	m.longestPause = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "streamd", Name: "checkpoint_pause_max_seconds", Help: "The longest of the pauses in checkpoint_pause_seconds since the start."})
	m.registry.MustRegister(m.longestPause)
	m.fallbacks = counter("checkpoint_fallbacks_total", "Checkpoints that a restore could not use.")
	m.restoreBytes = counter("restore_downloaded_bytes_total", "Bytes downloaded to restore tasks.")
	m.restoreSeconds = histogram("restore_seconds", "From a task's assignment to its first record.", seconds)
	m.registry.MustRegister(&scrape{w: w}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// scrape gives the figures that are read when somebody asks.
type scrape struct{ w *Worker }

var (
	descTasks      = prometheus.NewDesc("streamd_tasks", "Tasks of this worker, by state.", []string{"state"}, nil)
	descIn         = prometheus.NewDesc("streamd_records_in_total", "Records processed, by task.", []string{"task"}, nil)
	descOut        = prometheus.NewDesc("streamd_records_out_total", "Records written, changelog included, by task.", []string{"task"}, nil)
	descOutBytes   = prometheus.NewDesc("streamd_out_bytes_total", "Bytes of keys and values written, changelog included, by task.", []string{"task"}, nil)
	descChangelog  = prometheus.NewDesc("streamd_changelog_bytes_total", "Bytes of state changes written to the changelog, by task.", []string{"task"}, nil)
	descLag        = prometheus.NewDesc("streamd_lag_records", "Committed records not yet processed, markers not counted as lag, by input partition.", []string{"task", "topic", "partition"}, nil)
	descAge        = prometheus.NewDesc("streamd_checkpoint_age_seconds", "Age of the newest stored checkpoint, by task.", []string{"task"}, nil)
	descRound      = prometheus.NewDesc("streamd_checkpoint_round", "Newest stored round, by task.", []string{"task"}, nil)
	descProgress   = prometheus.NewDesc("streamd_loop_age_seconds", "Time since the loop last turned.", nil, nil)
	descFollowing  = prometheus.NewDesc("streamd_following_tasks", "Tasks of other workers whose state is kept near to the present here, by whether it is warm.", []string{"warm"}, nil)
	descFollowLag  = prometheus.NewDesc("streamd_follower_lag_offsets", "Changelog offsets that a followed state is behind, by task.", []string{"task"}, nil)
	descMoves      = prometheus.NewDesc("streamd_moves", "Tasks that are to move to this worker or are moving, by state.", []string{"state"}, nil)
	descGeneration = prometheus.NewDesc("streamd_group_generation", "Generation of the group that this worker is in.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *scrape) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descTasks, descIn, descOut, descOutBytes, descChangelog, descLag, descAge, descRound, descProgress, descFollowing, descFollowLag, descMoves, descGeneration} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *scrape) Collect(ch chan<- prometheus.Metric) {
	snap := s.w.status.Snapshot()
	now := s.w.now()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	states := map[string]int{"running": 0, "restoring": 0}
	for _, t := range snap.Tasks {
		states[t.State]++
		count(descIn, t.RecordsIn, t.Task)
		count(descOut, t.RecordsOut, t.Task)
		count(descOutBytes, t.BytesOut, t.Task)
		count(descChangelog, t.ChangelogBytes, t.Task)
		for _, l := range t.Lag {
			gauge(descLag, float64(l.Records), t.Task, l.Topic, l.Partition)
		}
		gauge(descRound, float64(t.Round), t.Task)
		if !t.CheckpointedAt.IsZero() {
			gauge(descAge, now.Sub(t.CheckpointedAt).Seconds(), t.Task)
		}
	}
	for state, n := range states {
		gauge(descTasks, float64(n), state)
	}
	s.collectPlacement(snap, gauge)
	gauge(descProgress, now.Sub(time.Unix(0, s.w.progress.Load())).Seconds())
	gauge(descGeneration, float64(snap.Generation))
}

func (s *scrape) collectPlacement(snap api.Status, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	following := map[string]int{"true": 0, "false": 0}
	for _, f := range snap.Following {
		following[strconv.FormatBool(f.Warm)]++
		if f.Lag >= 0 {
			gauge(descFollowLag, float64(f.Lag), f.Task)
		}
	}
	for warm, n := range following {
		gauge(descFollowing, float64(n), warm)
	}
	moves := map[string]int{partition.Waiting.String(): 0, partition.Warming.String(): 0, partition.Moving.String(): 0}
	for _, mv := range snap.Moves {
		if _, ok := moves[mv.State]; ok && mv.ToSelf {
			moves[mv.State]++
		}
	}
	for state, n := range moves {
		gauge(descMoves, float64(n), state)
	}
}
