// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Brokers tell no client which grants it has on what does not exist yet. But they look at grants before anything else,
// so a request that cannot do anything shows whether it would be allowed to.

// probeName ends the name of a topic or a transactional id that does not exist: no internal topic is of life 0.
const probeName = "0-doctor"

// operations maps operations to what brokers call them.
var operations = map[Operation]kmsg.ACLOperation{
	Read: kmsg.ACLOperationRead, Write: kmsg.ACLOperationWrite, Create: kmsg.ACLOperationCreate,
	Delete: kmsg.ACLOperationDelete, Describe: kmsg.ACLOperationDescribe,
}

// Lacking returns those of the wanted grants that this client does not have. It changes nothing in the cluster. Brokers
// without authorization allow everything.
func (a *Admin) Lacking(ctx context.Context, wanted []Grant) ([]Grant, error) {
	opts, err := ClientOptions(a.cfg)
	if err != nil {
		return nil, err
	}
	versions := requestVersions() // the last that name topics by name
	versions.SetMaxKeyVersion(int16(kmsg.Fetch), 12)
	versions.SetMaxKeyVersion(int16(kmsg.Produce), 12)
	cl, err := kgo.NewClient(append(opts, kgo.MaxVersions(versions))...)
	if err != nil {
		return nil, fmt.Errorf("ask for grants: %w", err)
	}
	defer cl.Close()
	existing, err := a.authorized(ctx, wanted)
	if err != nil {
		return nil, err
	}
	var missing []Grant
	for _, g := range wanted {
		allowed, exists := existing[g.Name]
		if g.Resource == TopicResource && exists && !g.Prefixed && g.Operation != Create {
			if len(allowed) > 0 && !slices.Contains(allowed, operations[g.Operation]) && !slices.Contains(allowed, kmsg.ACLOperationAll) {
				missing = append(missing, g)
			}
			continue
		}
		err := probe(ctx, cl, g)
		if IsDenied(err) {
			missing = append(missing, g)
		} else if err != nil {
			return nil, fmt.Errorf("ask for the grant %v: %w", g, err)
		}
	}
	return missing, nil
}

// authorized returns what may be done with those of the topics that exist and may be described.
func (a *Admin) authorized(ctx context.Context, wanted []Grant) (map[string][]kmsg.ACLOperation, error) {
	got := map[string][]kmsg.ACLOperation{}
	asked := map[string]bool{}
	for _, g := range wanted {
		if g.Resource != TopicResource || g.Prefixed || asked[g.Name] {
			continue
		}
		asked[g.Name] = true
		details, err := a.adm.ListTopics(kadm.WithAuthorizedOps(ctx), g.Name) // one by one: a denied one hides the others
		if err != nil && !IsDenied(err) {
			return nil, fmt.Errorf("ask for the grants on topic %s: %w", g.Name, err)
		}
		if d := details[g.Name]; err == nil && d.Err == nil {
			got[g.Name] = d.AuthorizedOperations
		}
	}
	return got, nil
}

// probe returns the broker's refusal if the grant is missing; nil if it is there.
func probe(ctx context.Context, cl *kgo.Client, g Grant) error {
	name := g.Name
	if g.Prefixed {
		name += probeName
	}
	var code int16
	var err error
	switch {
	case g.Resource == TopicResource:
		code, err = probeTopic(ctx, cl, g.Operation, name)
	case g.Resource == GroupResource:
		code, err = probeGroup(ctx, cl, g.Operation, name)
	case g.Resource == TransactionalIDResource && g.Operation == Write:
		req := kmsg.NewPtrEndTxnRequest() // of a producer that there is not
		req.TransactionalID = name
		var resp *kmsg.EndTxnResponse
		if resp, err = req.RequestWith(ctx, cl); err == nil {
			code = resp.ErrorCode
		}
	default:
		err = errNoProbe
	}
	return onlyDenied(code, err)
}

// errNoProbe is about a grant that no list of ours has.
var errNoProbe = errors.New("no request shows it")

// onlyDenied leaves of an answer only that it was denied, and of a failure to get one all.
func onlyDenied(code int16, err error) error {
	var answered *kerr.Error
	if err != nil && !errors.As(err, &answered) {
		return err
	}
	if err = errors.Join(err, kerr.ErrorForCode(code)); IsDenied(err) {
		return err
	}
	return nil
}

// probeTopic asks for partitions of a topic that there is not, or for a topic that is only checked and not made.
func probeTopic(ctx context.Context, cl *kgo.Client, op Operation, name string) (int16, error) {
	switch op {
	case Read:
		return probePartition(ctx, cl, fetchOf(name))
	case Write:
		return probePartition(ctx, cl, produceTo(name))
	case Delete:
		return probePartition(ctx, cl, deleteFrom(name))
	case Create:
		created, err := kadm.NewClient(cl).ValidateCreateTopics(ctx, 1, -1, nil, name)
		return 0, errors.Join(err, created[name].Err)
	default:
		details, err := kadm.NewClient(cl).ListTopics(ctx, name)
		return 0, errors.Join(err, details[name].Err)
	}
}

func fetchOf(name string) kmsg.Request {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxBytes = -1, 1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.Partitions = name, append(t.Partitions, kmsg.NewFetchRequestTopicPartition())
	req.Topics = append(req.Topics, t)
	return req
}

func produceTo(name string) kmsg.Request {
	req := kmsg.NewPtrProduceRequest()
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = []byte{}
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.Partitions = name, append(t.Partitions, p)
	req.Acks, req.TimeoutMillis, req.Topics = -1, 1000, append(req.Topics, t)
	return req
}

func deleteFrom(name string) kmsg.Request {
	req := kmsg.NewPtrDeleteRecordsRequest()
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic, t.Partitions = name, append(t.Partitions, kmsg.NewDeleteRecordsRequestTopicPartition())
	req.TimeoutMillis, req.Topics = 1000, append(req.Topics, t)
	return req
}

// probePartition sends a request about one partition to any broker: the client would look for the partition's leader.
func probePartition(ctx context.Context, cl *kgo.Client, req kmsg.Request) (code int16, err error) {
	if err := cl.Ping(ctx); err != nil {
		return 0, err
	}
	got, err := cl.DiscoveredBrokers()[0].RetriableRequest(ctx, req)
	if err != nil {
		return 0, err
	}
	switch resp := got.(type) {
	case *kmsg.FetchResponse:
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				code = p.ErrorCode
			}
		}
	case *kmsg.ProduceResponse:
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				code = p.ErrorCode
			}
		}
	case *kmsg.DeleteRecordsResponse:
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				code = p.ErrorCode
			}
		}
	}
	return code, nil
}

// probeGroup asks as a member that there is not, or for nothing.
func probeGroup(ctx context.Context, cl *kgo.Client, op Operation, name string) (int16, error) {
	switch op {
	case Read:
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID = name, probeName
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return 0, err
		}
		return resp.ErrorCode, nil
	case Delete:
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = name
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return 0, err
		}
		return resp.ErrorCode, nil
	default:
		return 0, errNoProbe
	}
}
