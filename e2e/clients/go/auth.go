package main

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// auth is the last scene, and leaves authentication as it was.
func auth(ctx context.Context, c *clientv3.Client) error {
	for _, it := range []string{"root", "reader"} {
		_, err := c.UserAdd(ctx, it, "secret")
		told("user", err)
		_, err = c.RoleAdd(ctx, it)
		told("role", err)
		_, err = c.UserGrantRole(ctx, it, it)
		told("granted", err)
	}
	_, err := c.RoleGrantPermission(ctx, "reader", "auth/", clientv3.GetPrefixRangeEnd("auth/"), clientv3.PermissionType(clientv3.PermRead))
	told("permitted", err)
	_, err = c.AuthEnable(ctx)
	told("enabled", err)
	root, err := as(c, "root", "secret")
	if err != nil {
		return err
	}
	defer root.Close()
	reader, err := as(c, "reader", "secret")
	if err != nil {
		return err
	}
	defer reader.Close()
	_, err = root.Put(ctx, "auth/a", "1")
	told("root puts", err)
	got, err := reader.Get(ctx, "auth/", clientv3.WithPrefix())
	told("reader gets", err, got.Count)
	_, err = reader.Put(ctx, "auth/a", "2")
	fmt.Println(is(err, rpctypes.ErrPermissionDenied))
	_, err = reader.Get(ctx, "auth", clientv3.WithPrefix())
	told("reader looks around", err)
	refused := <-reader.Watch(ctx, "elsewhere")
	fmt.Println("watch:", refused.Err())
	_, err = reader.UserList(ctx)
	told("reader lists", err)
	_, err = c.Get(ctx, "auth/a")
	told("nobody", err)
	_, err = as(c, "reader", "wrong")
	told("wrong password", err)
	_, err = root.AuthDisable(ctx)
	told("disabled", err)
	_, err = c.Get(ctx, "auth/a")
	told("anybody", err)
	return nil
}

func as(c *clientv3.Client, name, password string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: c.Endpoints(), DialTimeout: sceneTimeout, Logger: zap.NewNop(), Username: name, Password: password,
	})
}
