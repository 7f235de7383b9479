// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/partition"
)

// stalled is how long the loop may stand still before /livez says so: the loop waits for transactions, and a
// transaction waits at most for its timeout.
func (w *Worker) stalled() time.Duration { return w.cfg.TransactionTimeout + 30*time.Second }

// server is what answers at an address until it is shut down.
type server interface {
	Serve(l net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
}

// serve opens the HTTP addresses that are configured and returns what closes them.
func (w *Worker) serve() (func(), error) {
	var servers []server
	closeAll := func() {
		for _, s := range servers {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if err := s.Shutdown(ctx); err != nil {
				s.Close()
			}
			cancel()
		}
	}
	listen := func(what, setting, addr string, s server) error {
		l, err := net.Listen("tcp", addr)
		if err != nil && w.cfg.IsDefault(setting) {
			l, err = net.Listen("tcp", "127.0.0.1:0") // nobody has asked for that port: another worker may have it
		}
		if err != nil {
			return fmt.Errorf("open %s address: %w; choose another, or \"\" for none", what, err)
		}
		servers = append(servers, s)
		if setting == "http.address" {
			w.holdings.endpoint.Store(w.advertised(l.Addr()))
		}
		w.listener.log.Info("listening", zap.String("what", what), zap.Stringer("address", l.Addr()))
		w.routines.Go(func() {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				w.listener.background("serve http", err)
			}
		})
		return nil
	}
	if addr := w.cfg.HTTPAddress; addr != "" {
		s, err := w.api()
		if err != nil {
			return nil, err
		}
		if err := listen("http", "http.address", addr, s); err != nil {
			return nil, err
		}
	}
	if addr := w.cfg.PprofAddress; addr != "" {
		s := &http.Server{Handler: profiles(), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
		if err := listen("pprof", "pprof.address", addr, s); err != nil {
			closeAll()
			return nil, err
		}
	}
	return closeAll, nil
}

// advertised is the URL at which other workers reach an address that this one listens at.
func (w *Worker) advertised(addr net.Addr) string {
	switch w.cfg.WorkerEndpoint {
	case "":
	case config.NoEndpoint:
		return ""
	default:
		return w.cfg.WorkerEndpoint
	}
	at := addr.(*net.TCPAddr)
	host := at.IP.String()
	if at.IP.IsUnspecified() {
		host = ownAddress()
	}
	scheme := "http://"
	if w.cfg.APITLSCertFile != "" {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(host, strconv.Itoa(at.Port))
}

// ownAddress is an address of this machine that others can reach, if it has one.
func ownAddress() string {
	addrs, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				return n.IP.String()
			}
		}
	}
	return "127.0.0.1"
}

// api makes the server of health, metrics and the API.
//
//	/livez   200 while the loop turns; 503 when it has stood still for longer than a transaction may take
//	/readyz  200 when the worker has joined the group, none of its tasks is restoring, and it has all tasks that are to
//	         move to it: Kubernetes stops another one only then. A worker without tasks is ready.
//	/metrics Prometheus
func (w *Worker) api() (*api.Server, error) {
	cfg := *w.cfg // as the worker was started with; memory limits change it later
	s, err := api.New(api.Options{Config: &cfg, Log: w.listener.log})
	if err != nil {
		return nil, err
	}
	s.Open("GET /livez", check(w.alive))
	s.Open("GET /readyz", check(w.settled))
	metrics := promhttp.HandlerFor(w.listener.m.registry, promhttp.HandlerOpts{})
	if w.cfg.APIProtectMetrics {
		s.Handle(api.Route{Pattern: "GET /metrics", Role: api.Viewer, Handle: func(rw http.ResponseWriter, r *http.Request) error {
			metrics.ServeHTTP(rw, r)
			return nil
		}})
	} else {
		s.Open("GET /metrics", metrics)
	}
	s.Resources(view{w}, w.topology)
	w.queries.Register(s)
	return s, nil
}

// check answers 200 if all is well, and 503 with what is not.
func check(well func() error) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if err := well(); err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(rw, "ok")
	})
}

func (w *Worker) alive() error {
	if last := w.progress.Load(); last != 0 && w.now().Sub(time.Unix(0, last)) > w.stalled() {
		return errors.New("the loop stands still")
	}
	return nil
}

func (w *Worker) settled() error {
	snap := w.status.Snapshot()
	if !snap.Joined {
		return errors.New("not joined")
	}
	for _, t := range snap.Tasks {
		if t.State != "running" {
			return fmt.Errorf("task %s is %s", t.Task, t.State)
		}
	}
	for _, mv := range snap.Moves {
		if mv.ToSelf && mv.State != partition.Moved.String() {
			return fmt.Errorf("task %s is to move here: %s", mv.Task, mv.State)
		}
	}
	return nil
}

func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	return mux
}
