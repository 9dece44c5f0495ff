package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func kv(ctx context.Context, c *clientv3.Client) error {
	base, err := first(ctx, c)
	if err != nil {
		return err
	}
	for n := range 5 {
		put, err := c.Put(ctx, fmt.Sprintf("kv/%d", n), fmt.Sprintf("v%d", n), clientv3.WithPrevKV())
		if err != nil {
			return err
		}
		fmt.Println("put at", put.Header.Revision-base, "before:", put.PrevKv)
	}
	got, err := c.Get(ctx, "kv/", clientv3.WithPrefix(), clientv3.WithLimit(1))
	told("one of all", err, len(got.Kvs), got.Count, got.More)
	got, err = c.Get(ctx, "kv/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByValue, clientv3.SortDescend))
	if err != nil {
		return err
	}
	for _, it := range got.Kvs {
		fmt.Println(string(it.Key), string(it.Value), it.CreateRevision-base, it.ModRevision-base, it.Version)
	}
	got, err = c.Get(ctx, "kv/2", clientv3.WithKeysOnly(), clientv3.WithRev(base+4), clientv3.WithRange("kv0"))
	told("keys then", err, got.Count, got.Kvs[0].Value == nil)
	counted, err := c.Get(ctx, "kv/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	told("count", err, counted.Count, len(counted.Kvs))
	gone, err := c.Delete(ctx, "kv/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	told("deleted", err, gone.Deleted, len(gone.PrevKvs))
	_, err = c.Put(ctx, "", "")
	told("no key", err)
	_, err = c.Get(ctx, "kv/1", clientv3.WithRev(base+1_000_000))
	fmt.Println(is(err, rpctypes.ErrFutureRev))
	_, err = c.Put(ctx, "kv/none", "", clientv3.WithIgnoreValue())
	told("ignore value", err)
	_, err = c.Put(ctx, "kv/none", "", clientv3.WithLease(77))
	told("no lease", err)
	return nil
}

func txn(ctx context.Context, c *clientv3.Client) error {
	base, err := first(ctx, c)
	if err != nil {
		return err
	}
	swap := func(from, to string) {
		done, err := c.Txn(ctx).
			If(clientv3.Compare(clientv3.Value("txn/a"), "=", from)).
			Then(clientv3.OpPut("txn/a", to), clientv3.OpGet("txn/", clientv3.WithPrefix())).
			Else(clientv3.OpGet("txn/a"), clientv3.OpTxn(
				[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision("txn/a"), "=", 0)},
				[]clientv3.Op{clientv3.OpPut("txn/a", "new")}, nil)).
			Commit()
		if err != nil {
			told("swap", err)
			return
		}
		fmt.Println("swap", from, to, done.Succeeded, len(done.Responses), done.Header.Revision-base)
		if done.Succeeded {
			for _, it := range done.Responses[1].GetResponseRange().Kvs {
				fmt.Println(string(it.Key), string(it.Value), it.ModRevision-base, it.Version)
			}
		}
	}
	swap("new", "x")
	swap("new", "x")
	swap("new", "y")
	_, err = c.Txn(ctx).Then(clientv3.OpPut("txn/d", "1"), clientv3.OpPut("txn/d", "2")).Commit()
	told("twice", err)
	many := make([]clientv3.Op, 129)
	for n := range many {
		many[n] = clientv3.OpPut(fmt.Sprintf("txn/m%d", n), "")
	}
	_, err = c.Txn(ctx).Then(many...).Commit()
	told("many", err)
	return nil
}

func watch(ctx context.Context, c *clientv3.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	base, err := first(ctx, c)
	if err != nil {
		return err
	}
	events := c.Watch(ctx, "watch/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithRev(base+1))
	deletions := c.Watch(ctx, "watch/", clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	fmt.Println("created:", (<-deletions).Created)
	for _, op := range []clientv3.Op{
		clientv3.OpPut("watch/a", "1"), clientv3.OpPut("watch/a", "2"), clientv3.OpDelete("watch/a"), clientv3.OpPut("watch/b", "3"),
	} {
		if _, err := c.Do(ctx, op); err != nil {
			return err
		}
	}
	for seen := 0; seen < 4; {
		answer := <-events
		if err := answer.Err(); err != nil {
			return err
		}
		for _, it := range answer.Events {
			seen++
			before := ""
			if it.PrevKv != nil {
				before = string(it.PrevKv.Value)
			}
			fmt.Println(it.Type, string(it.Kv.Key), string(it.Kv.Value), it.Kv.ModRevision-base, it.IsCreate(), it.IsModify(), before)
		}
	}
	gone := <-deletions
	fmt.Println("deletions:", len(gone.Events), gone.Events[0].Type)
	asked := c.Watch(ctx, "watch/", clientv3.WithProgressNotify())
	told("progress asked for", c.RequestProgress(ctx))
	for answer := range asked {
		if answer.IsProgressNotify() {
			fmt.Println("progress at", answer.Header.Revision-base)
			break
		}
	}
	return nil
}

func compaction(ctx context.Context, c *clientv3.Client) error {
	base, err := first(ctx, c)
	if err != nil {
		return err
	}
	for range 3 {
		if _, err := c.Put(ctx, "compaction", ""); err != nil {
			return err
		}
	}
	_, err = c.Compact(ctx, base+2, clientv3.WithCompactPhysical())
	told("compacted", err)
	_, err = c.Compact(ctx, base+2)
	fmt.Println(is(err, rpctypes.ErrCompacted))
	_, err = c.Get(ctx, "compaction", clientv3.WithRev(base+1))
	fmt.Println(is(err, rpctypes.ErrCompacted))
	lost := <-c.Watch(ctx, "compaction", clientv3.WithRev(base+1))
	fmt.Println("watch:", lost.Err(), lost.Canceled, lost.CompactRevision-base)
	return nil
}

func lease(ctx context.Context, c *clientv3.Client) error {
	granted, err := c.Grant(ctx, 60)
	if err != nil {
		return err
	}
	for _, key := range []string{"lease/a", "lease/b"} {
		_, err = c.Put(ctx, key, "", clientv3.WithLease(granted.ID))
		told("attached", err)
	}
	once, err := c.KeepAliveOnce(ctx, granted.ID)
	if err != nil {
		return err
	}
	fmt.Println("once:", once.TTL)
	alive, err := c.KeepAlive(ctx, granted.ID)
	if err != nil {
		return err
	}
	fmt.Println("alive:", (<-alive).TTL)
	left, err := c.TimeToLive(ctx, granted.ID, clientv3.WithAttachedKeys())
	if err != nil {
		return err
	}
	// etcd gives them in no order.
	slices.SortFunc(left.Keys, bytes.Compare)
	fmt.Printf("keys: %q of %d\n", left.Keys, left.GrantedTTL)
	_, err = c.Revoke(ctx, granted.ID)
	told("revoked", err)
	for range alive {
	}
	fmt.Println("the channel is closed")
	got, err := c.Get(ctx, "lease/", clientv3.WithPrefix())
	told("left", err, got.Count)
	_, err = c.KeepAliveOnce(ctx, granted.ID)
	fmt.Println(is(err, rpctypes.ErrLeaseNotFound))
	_, err = c.Revoke(ctx, granted.ID)
	fmt.Println(is(err, rpctypes.ErrLeaseNotFound))
	brief, err := c.Grant(ctx, 1)
	if err != nil {
		return err
	}
	expired := c.Watch(ctx, "lease/brief")
	_, err = c.Put(ctx, "lease/brief", "", clientv3.WithLease(brief.ID))
	told("brief", err)
	for answer := range expired {
		if it := answer.Events[0]; it.Type == clientv3.EventTypeDelete {
			fmt.Println("expired")
			break
		}
	}
	return nil
}
