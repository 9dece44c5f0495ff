package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
)

func mutex(ctx context.Context, c *clientv3.Client) error {
	one, err := concurrency.NewSession(c, concurrency.WithTTL(30))
	if err != nil {
		return err
	}
	defer one.Close()
	two, err := concurrency.NewSession(c, concurrency.WithTTL(30))
	if err != nil {
		return err
	}
	first, second := concurrency.NewMutex(one, "mutex"), concurrency.NewMutex(two, "mutex")
	told("first", first.Lock(ctx))
	tried := second.TryLock(ctx)
	fmt.Println("held:", errors.Is(tried, concurrency.ErrLocked))
	held, err := c.Txn(ctx).If(first.IsOwner()).Commit()
	told("owner", err, held.Succeeded)
	locked := make(chan error, 1)
	go func() { locked <- second.Lock(ctx) }()
	told("unlock", first.Unlock(ctx))
	told("second", <-locked)
	told("session of the holder ends", two.Close())
	told("first again", first.Lock(ctx))
	told("unlock", first.Unlock(ctx))
	// Several at once, over one number: none is lost.
	var all sync.WaitGroup
	number := 0
	for range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			session, err := concurrency.NewSession(c)
			if err != nil {
				fmt.Println(err)
				return
			}
			defer session.Close()
			mutex := concurrency.NewMutex(session, "mutex/many")
			if err := mutex.Lock(ctx); err != nil {
				fmt.Println(err)
				return
			}
			number++
			told("unlock", mutex.Unlock(ctx))
		}()
	}
	all.Wait()
	fmt.Println("number:", number)
	return nil
}

func election(ctx context.Context, c *clientv3.Client) error {
	one, err := concurrency.NewSession(c, concurrency.WithTTL(30))
	if err != nil {
		return err
	}
	defer one.Close()
	two, err := concurrency.NewSession(c, concurrency.WithTTL(30))
	if err != nil {
		return err
	}
	first, second := concurrency.NewElection(one, "election"), concurrency.NewElection(two, "election")
	_, err = first.Leader(ctx)
	fmt.Println("nobody:", errors.Is(err, concurrency.ErrElectionNoLeader))
	watching, stop := context.WithCancel(ctx)
	defer stop()
	seen := first.Observe(watching)
	told("first", first.Campaign(ctx, "one"))
	fmt.Println("observed:", string((<-seen).Kvs[0].Value))
	told("proclaim", first.Proclaim(ctx, "one again"))
	fmt.Println("observed:", string((<-seen).Kvs[0].Value))
	won := make(chan error, 1)
	go func() { won <- second.Campaign(ctx, "two") }()
	told("resign", first.Resign(ctx))
	told("second", <-won)
	fmt.Println("observed:", string((<-seen).Kvs[0].Value))
	told("proclaim without", first.Proclaim(ctx, "three"))
	leader, err := first.Leader(ctx)
	told("leader", err, string(leader.Kvs[0].Value))
	return two.Close()
}

func stm(ctx context.Context, c *clientv3.Client) error {
	told("serializable", transfers(ctx, c, concurrency.Serializable))
	told("snapshot", transfers(ctx, c, concurrency.SerializableSnapshot))
	told("repeatable reads", transfers(ctx, c, concurrency.RepeatableReads))
	return nil
}

// transfers moves one between two accounts, many at once: the sum stays.
func transfers(ctx context.Context, c *clientv3.Client, level concurrency.Isolation) error {
	for _, it := range []string{"stm/a", "stm/b"} {
		if _, err := c.Put(ctx, it, "100"); err != nil {
			return err
		}
	}
	move := func(s concurrency.STM) error {
		a, _ := strconv.Atoi(s.Get("stm/a"))
		b, _ := strconv.Atoi(s.Get("stm/b"))
		s.Put("stm/a", strconv.Itoa(a-1))
		s.Put("stm/b", strconv.Itoa(b+1))
		return nil
	}
	failed := make(chan error, 10)
	for range 10 {
		go func() {
			_, err := concurrency.NewSTM(c, move, concurrency.WithIsolation(level), concurrency.WithAbortContext(ctx))
			failed <- err
		}()
	}
	for range 10 {
		if err := <-failed; err != nil {
			return err
		}
	}
	for _, it := range []string{"stm/a", "stm/b"} {
		got, err := c.Get(ctx, it)
		if err != nil {
			return err
		}
		fmt.Println(it, string(got.Kvs[0].Value), got.Kvs[0].Version > 10)
	}
	return nil
}

func leased(ctx context.Context, c *clientv3.Client) error {
	one, closeOne, err := leasing.NewKV(c, "leasing/")
	if err != nil {
		return err
	}
	defer closeOne()
	two, closeTwo, err := leasing.NewKV(c, "leasing/")
	if err != nil {
		return err
	}
	defer closeTwo()
	_, err = one.Put(ctx, "leased", "1")
	told("put", err)
	got, err := one.Get(ctx, "leased")
	told("owned", err, string(got.Kvs[0].Value))
	owners, err := c.Get(ctx, "leasing/", clientv3.WithPrefix())
	told("owners", err, owners.Count)
	_, err = two.Put(ctx, "leased", "2")
	told("the other puts", err)
	got, err = one.Get(ctx, "leased")
	told("seen", err, string(got.Kvs[0].Value), got.Kvs[0].Version)
	done, err := two.Txn(ctx).If(clientv3.Compare(clientv3.Version("leased"), "=", 2)).Then(clientv3.OpPut("leased", "3")).Commit()
	told("txn", err, done.Succeeded)
	got, err = one.Get(ctx, "leased")
	told("seen", err, string(got.Kvs[0].Value))
	gone, err := one.Delete(ctx, "leased")
	told("deleted", err, gone.Deleted)
	got, err = two.Get(ctx, "leased")
	told("none", err, got.Count)
	return nil
}
