// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/streamd/streamd/engine/config"
)

// The limits of the server.
const (
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 64 << 10
	maxRequests    = 256 // that are answered at a time
	maxStreams     = 64  // beside them
	maxConnections = 1024

	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 60 * time.Second
	idleTimeout   = 2 * time.Minute
)

// Options make a Server.
type Options struct {
	Config *config.Config
	Log    *zap.Logger
}

// Route is one thing that may be asked.
type Route struct {
	Pattern string // as for http.ServeMux, with a method: "GET /api/v1/tasks/{task}"
	Role    Role   // the least that may use it
	Peers   bool   // other workers may, too, also where Role is above viewer
	Stream  bool   // its answers have no end: they have a limit of their own, and no deadline
	Bounded bool   // its handler has a limit of its own, and that of all others does not count
	// Handle answers. What it returns becomes a problem document, unless something was written already: a *Problem as it is,
	// another error as one of status 500.
	Handle func(http.ResponseWriter, *http.Request) error
}

// Server is the HTTP server of a worker.
type Server struct {
	cfg    *config.Config
	log    *zap.Logger
	mux    *http.ServeMux
	routes []Route
	http   *http.Server
	guard  *http.CrossOriginProtection

	grants   *watched[[]grant]  // nil: there is no tokens file
	peers    *watched[[]string] // nil: no tokens of peers
	loopback bool               // of the address that is served

	requests, streams chan struct{}
	ending            context.Context // ends when the server is to stop: streams end with it
	end               context.CancelFunc
	background        []func(context.Context) // that run while the server serves
	drains            []func(context.Context) // that end what the server has begun
}

// New reads the files that the settings name. Nothing is served before Serve.
func New(o Options) (*Server, error) {
	s := &Server{
		cfg: o.Config, log: o.Log, mux: http.NewServeMux(), guard: http.NewCrossOriginProtection(),
		requests: make(chan struct{}, maxRequests), streams: make(chan struct{}, maxStreams),
	}
	s.ending, s.end = context.WithCancel(context.Background())
	var err error
	if path := o.Config.APITokensFile; path != "" {
		if s.grants, err = watch(parseGrants, s.FileFailed, path); err != nil {
			return nil, err
		}
	}
	if path := o.Config.APIPeerTokenFile; path != "" {
		if s.peers, err = watch(parsePeerTokens, s.FileFailed, path); err != nil {
			return nil, err
		}
	}
	errorLog, err := zap.NewStdLogAt(o.Log, zap.DebugLevel) // of handshakes that fail, and the like: whoever can connect can write these
	if err != nil {
		return nil, err
	}
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.serve), ErrorLog: errorLog, MaxHeaderBytes: maxHeaderBytes,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
	}
	if s.http.TLSConfig, err = serverTLS(o.Config, s.FileFailed); err != nil {
		return nil, err
	}
	s.describe()
	return s, nil
}

// FileFailed says that a file cannot be used in its present form. It may be given to NewPeers.
func (s *Server) FileFailed(err error) {
	s.log.Error("a file of the HTTP API cannot be used; what it said before stays in force", zap.Error(err))
}

// Handle adds a route. A pattern that is there already, or that is ambiguous, panics.
func (s *Server) Handle(r Route) {
	if !slices.Contains(ladder, r.Role) || r.Handle == nil {
		panic("api: route " + r.Pattern + " needs one of the roles viewer, operator and admin, and a handler")
	}
	s.routes = append(s.routes, r)
	s.mux.Handle(r.Pattern, s.guarded(&r))
}

// Open adds a route that everybody may use, as health checks do.
func (s *Server) Open(pattern string, h http.Handler) {
	s.routes = append(s.routes, Route{Pattern: pattern})
	s.mux.Handle(pattern, h)
}

// Routes returns the routes that were added. Those of Open have no role.
func (s *Server) Routes() []Route { return slices.Clone(s.routes) }

// Serve answers until the server is shut down, which gives http.ErrServerClosed.
func (s *Server) Serve(l net.Listener) error {
	s.loopback = isLoopback(l.Addr().String())
	l = limitConnections(l, maxConnections)
	var running sync.WaitGroup
	defer running.Wait()
	defer s.end()
	for _, run := range s.background {
		running.Go(func() { run(s.ending) })
	}
	if s.http.TLSConfig == nil {
		return s.http.Serve(l)
	}
	return s.http.Serve(tls.NewListener(l, s.http.TLSConfig))
}

// Shutdown ends streams, lets operations come to their end, and waits for other requests to be answered, or for ctx to end.
func (s *Server) Shutdown(ctx context.Context) error {
	s.end()
	for _, drain := range s.drains {
		drain(ctx)
	}
	return s.http.Shutdown(ctx)
}

// Close ends all connections.
func (s *Server) Close() error {
	s.end()
	return s.http.Close()
}
