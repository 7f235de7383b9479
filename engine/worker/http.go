// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/partition"
)

// stalled is how long the loop may stand still before /livez says so: the loop waits for transactions, and a
// transaction waits at most for its timeout.
func (w *Worker) stalled() time.Duration { return w.cfg.TransactionTimeout + 30*time.Second }

// serve opens the HTTP addresses that are configured and returns what closes them.
func (w *Worker) serve() (func(), error) {
	var servers []*http.Server
	closeAll := func() {
		for _, s := range servers {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if err := s.Shutdown(ctx); err != nil {
				s.Close()
			}
			cancel()
		}
	}
	listen := func(what, setting, addr string, h http.Handler) error {
		if addr == "" {
			return nil
		}
		if !loopback(addr) && !w.cfg.Insecure {
			return fmt.Errorf("%s address %s is not a loopback address: it has no authentication; use 127.0.0.1, or say --insecure where the network is closed", what, addr)
		}
		l, err := net.Listen("tcp", addr)
		if err != nil && w.cfg.IsDefault(setting) {
			l, err = net.Listen("tcp", "127.0.0.1:0") // nobody has asked for that port: another worker may have it
		}
		if err != nil {
			return fmt.Errorf("open %s address: %w; choose another, or \"\" for none", what, err)
		}
		s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
		servers = append(servers, s)
		if setting == "http.address" {
			w.endpoint = w.advertised(l.Addr())
		}
		w.listener.log.Info("listening", zap.String("what", what), zap.Stringer("address", l.Addr()))
		w.routines.Go(func() {
			if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				w.listener.background("serve http", err)
			}
		})
		return nil
	}
	if err := listen("http", "http.address", w.cfg.HTTPAddress, w.handler()); err != nil {
		return nil, err
	}
	if err := listen("pprof", "pprof.address", w.cfg.PprofAddress, profiles()); err != nil {
		closeAll()
		return nil, err
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
	return "http://" + net.JoinHostPort(host, strconv.Itoa(at.Port))
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

// version is that of the program.
var version = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return info.Main.Version
})

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// handler serves health, metrics and status.
//
//	/livez   200 while the loop turns; 503 when it has stood still for longer than a transaction may take
//	/readyz  200 when the worker has joined the group, none of its tasks is restoring, and it has all tasks that are to
//	         move to it: Kubernetes stops another one only then. A worker without tasks is ready.
//	/metrics Prometheus
//	/api/v1/status  what the worker is doing, as JSON
func (w *Worker) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(rw http.ResponseWriter, _ *http.Request) {
		last := w.progress.Load()
		if last != 0 && w.now().Sub(time.Unix(0, last)) > w.stalled() {
			http.Error(rw, "the loop stands still", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(rw, "ok")
	})
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		snap := w.status.Snapshot()
		if !snap.Joined {
			http.Error(rw, "not joined", http.StatusServiceUnavailable)
			return
		}
		for _, t := range snap.Tasks {
			if t.State != "running" {
				http.Error(rw, "task "+t.Task+" is "+t.State, http.StatusServiceUnavailable)
				return
			}
		}
		for _, mv := range snap.Moves {
			if mv.ToSelf && mv.State != partition.Moved.String() {
				http.Error(rw, "task "+mv.Task+" is to move here: "+mv.State, http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(rw, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(w.listener.m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /api/v1/status", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		if err := json.MarshalWrite(rw, w.status.Snapshot()); err != nil {
			w.listener.background("write status", err)
		}
	})
	return mux
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
