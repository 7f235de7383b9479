// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/streamd/streamd/engine/core"
)

// CommitInitial commits the offsets from which a life of an application starts, as no member of its group, and with them
// what was in flight at the cut that it starts from. Of several processes
// that do it at once with one transactional id only the one that has taken the id last can: whoever looks at what is
// committed after it has taken the id, and then commits, changes nothing that was committed in between. The others are
// Fenced. Without a transactional id the commit is Fenced, too, once the group has members. After Fenced and Unknown
// the caller looks again; Refused is final.
func (p *Producer) CommitInitial(ctx context.Context, commits []OffsetCommit, channels []SavedChannel) (out core.Outcome, err error) {
	out, err = p.produceChannels(ctx, channels)
	switch {
	case out != core.Confirmed:
	case p.id == "":
		out, err = p.commitPlain(ctx, "", -1, commits)
	default:
		if out, err = p.commitInTransaction(ctx, "", -1, commits); out != core.Confirmed {
			break
		}
		if p.sent.Load() {
			out, err = p.End(ctx, true)
		} else {
			out, err = p.endWithoutRecords(ctx)
		}
	}
	switch {
	case isBusyGroup(err), errors.Is(err, kerr.InvalidTxnState): // the latter: who took the id has aborted it already
		return core.Fenced, err
	case out == core.Refused && kerr.IsRetriable(err):
		return core.Unknown, err
	}
	return out, err
}

// isBusyGroup says whether err means that the group has members.
func isBusyGroup(err error) bool {
	return errors.Is(err, kerr.UnknownMemberID) || errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.NonEmptyGroup)
}

// endWithoutRecords commits a transaction that holds offsets only: the client does not know that it has begun.
func (p *Producer) endWithoutRecords(ctx context.Context) (core.Outcome, error) {
	pid, epoch, err := p.cl.ProducerID(ctx)
	if err != nil {
		return outcome(err), fmt.Errorf("end transaction %s: %w", p.id, err)
	}
	for {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = p.id, pid, epoch, true
		resp, err := req.RequestWith(ctx, p.cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err == nil {
			return core.Confirmed, nil
		}
		if !errors.Is(err, kerr.ConcurrentTransactions) {
			return outcome(err), fmt.Errorf("end transaction %s: %w", p.id, err)
		}
		if err := Pause(ctx, txnBackoff); err != nil {
			return core.Unknown, err
		}
	}
}
