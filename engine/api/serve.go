// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"
)

// request is what the server knows of a request. Its handler may add to it.
type request struct {
	id      string
	pattern string
	caller  Caller
	audit   []zap.Field
}

type requestKey struct{}

func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{}
}

// CallerOf returns who has sent the request of a handler's context.
func CallerOf(ctx context.Context) Caller { return requestOf(ctx).caller }

// Audit adds to the log line of a request that asks for a change: what it is about. Keys and values of the user's data do
// not belong there. It may be called by the handler only.
func Audit(ctx context.Context, key, value string) {
	r := requestOf(ctx)
	r.audit = append(r.audit, zap.String(key, value))
}

// requestIDs are those that a client may choose.
var requestIDs = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,64}$`)

// serve is the first to see a request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	req := &request{id: r.Header.Get("X-Request-Id")}
	if !requestIDs.MatchString(req.id) {
		req.id = rand.Text()
	}
	out := &answer{ResponseWriter: w}
	defer s.recovered(out, req)
	h := w.Header()
	h.Set("X-Request-Id", req.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	if s.loopback && !ownHost(r.Host) {
		// A page of another site whose name was made to lead here would be taken for a caller on this machine.
		Problemf(http.StatusMisdirectedRequest, codeHost, "this address is for callers on the same machine: ask for localhost or 127.0.0.1, not for %.100q", r.Host).write(out, req.id)
		return
	}
	_, req.pattern = s.mux.Handler(r)
	if req.pattern == "" {
		s.unknown(out, r, req)
		return
	}
	s.mux.ServeHTTP(out, r.WithContext(context.WithValue(r.Context(), requestKey{}, req)))
}

// recovered turns a panic of a handler into a problem.
func (s *Server) recovered(out *answer, req *request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	s.log.Error("a handler of the HTTP API has panicked", zap.String("route", req.pattern), zap.String("requestID", req.id),
		zap.String("panic", fmt.Sprint(p)), zap.String("stack", string(debug.Stack())))
	if out.status == 0 {
		Problemf(http.StatusInternalServerError, codeInternal, "an unexpected error; the worker's log has more under request %s", req.id).write(out, req.id)
	}
}

// unknown answers a request for which there is no route, with the status that the router has found.
func (s *Server) unknown(out *answer, r *http.Request, req *request) {
	found := &answer{ResponseWriter: nowhere{http.Header{}}}
	s.mux.ServeHTTP(found, r)
	if allow := found.Header().Get("Allow"); found.status == http.StatusMethodNotAllowed {
		out.Header().Set("Allow", allow)
		Problemf(found.status, codeMethod, "%s is not allowed here: use %s", r.Method, allow).write(out, req.id)
		return
	}
	Problemf(http.StatusNotFound, codeNotFound, "there is nothing at this path: /api/v1/openapi.json lists what there is").write(out, req.id)
}

// nowhere is a writer whose output nobody reads.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header       { return n.header }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}

// answer remembers whether, and with what status, something was written.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// guarded lets the route's handler see only what it should.
func (s *Server) guarded(route *Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req := requestOf(r.Context())
		err := s.admit(r, req, route)
		if err == nil {
			err = s.call(w, r, route)
		}
		out, _ := w.(*answer)
		if err != nil && (out == nil || out.status == 0) {
			p := problemOf(err)
			if p.Status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="streamd"`)
			}
			p.write(w, req.id)
		}
		s.note(r, req, out, err)
	})
}

// admit finds out who the caller is, and whether the route is for them.
func (s *Server) admit(r *http.Request, req *request, route *Route) error {
	if err := s.guard.Check(r); err != nil {
		return Problemf(http.StatusForbidden, codeOrigin, "a page of another site may not ask for this")
	}
	caller, err := s.authenticate(r)
	if err != nil {
		return err
	}
	req.caller = caller
	if !caller.Role.may(route) {
		return Problemf(http.StatusForbidden, codeForbidden, "%s has the role %s; this needs %s", caller.Name, caller.Role, route.Role)
	}
	return nil
}

// anonymous is who comes without saying who they are, where nobody has to.
const anonymous = "anonymous"

// authenticate finds out who has sent a request.
func (s *Server) authenticate(r *http.Request) (Caller, error) {
	var grants []grant
	if s.grants != nil {
		grants = s.grants.get()
	}
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		token = strings.TrimSpace(token)
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return Caller{}, Problemf(http.StatusUnauthorized, codeUnauthorized, "the header Authorization has another form than: Bearer TOKEN")
		}
		if s.peers != nil && isPeer(s.peers.get(), token) {
			return Caller{Name: "peer", Role: Peer, By: "token"}, nil
		}
		if c, ok := byToken(grants, token); ok {
			return c, nil
		}
		return Caller{}, Problemf(http.StatusUnauthorized, codeUnauthorized, "the token is not known: it was withdrawn, or is of another application; api.tokens-file has those that are")
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		if c, ok := byCertificate(grants, r.TLS.VerifiedChains[0][0], Role(s.cfg.APITLSClientRole)); ok {
			return c, nil
		}
		return Caller{}, Problemf(http.StatusUnauthorized, codeUnauthorized, "the client certificate has no role: api.tokens-file needs a line for its subject")
	}
	switch {
	case s.cfg.Authenticates():
		return Caller{}, Problemf(http.StatusUnauthorized, codeUnauthorized, "say who you are: by the header Authorization: Bearer TOKEN, or by a client certificate where the worker accepts them")
	case s.loopback:
		return Caller{Name: anonymous, Role: Admin, By: "nothing"}, nil
	}
	return Caller{Name: anonymous, Role: Viewer, By: "nothing"}, nil
}

// busyPause is when to try again that was refused because of a limit.
const busyPause = time.Second

// call runs the handler within the limits.
func (s *Server) call(w http.ResponseWriter, r *http.Request, route *Route) error {
	if !route.Bounded {
		slots := s.requests
		if route.Stream {
			slots = s.streams
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			return &Problem{Status: http.StatusTooManyRequests, Code: codeBusy, Detail: fmt.Sprintf("%d requests of this kind are being answered already, which is the limit", cap(slots)), Retry: busyPause}
		}
	}
	if route.Stream {
		if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(s.ending, cancel)()
		r = r.WithContext(ctx)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	return route.Handle(w, r)
}

// note writes the line of the audit log for what asks for a change, and for what was refused.
func (s *Server) note(r *http.Request, req *request, out *answer, err error) {
	status := http.StatusOK
	if out != nil && out.status != 0 {
		status = out.status
	}
	denied := status == http.StatusUnauthorized || status == http.StatusForbidden
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	if status >= http.StatusInternalServerError && safe && err != nil && r.Context().Err() == nil {
		s.log.Warn("request of the HTTP API failed", zap.String("route", req.pattern), zap.String("requestID", req.id), zap.Error(err))
	}
	if safe && !denied {
		return
	}
	outcome := "done"
	switch {
	case denied:
		outcome = "denied"
	case status >= http.StatusBadRequest:
		outcome = "failed"
	}
	fields := append([]zap.Field{
		zap.String("caller", req.caller.Name), zap.String("role", string(req.caller.Role)), zap.String("by", req.caller.By),
		zap.String("from", r.RemoteAddr), zap.String("route", req.pattern), zap.String("requestID", req.id),
		zap.Int("status", status), zap.String("outcome", outcome),
	}, req.audit...)
	if err != nil {
		fields = append(fields, zap.Error(err))
	}
	s.log.Info("audit", fields...)
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// ownHost says whether a Host header names this machine.
func ownHost(host string) bool {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), "0")
	}
	return isLoopback(host)
}
