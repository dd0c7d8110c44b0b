// Package fabric runs a real Hyperledger Fabric network on one machine, without containers and without root:
// organisations with a peer each, orderers, the contract as a service, and a Zhenglian node per organisation.
//
// A network is a folder. [Up] makes it and starts what is down in it; [Open] looks at one that is there.
// Everything about it is in that folder: keys, ledgers, logs, the addresses chosen when it was made.
//
//	net, err := fabric.Up(ctx, fabric.Spec{Dir: "out/network", Bin: "bin/fabric/2.5.0", …}, nil)
//	net.Peer("beijing").Kill()
//	net.Down(ctx, true)
//
// The peer finds its chaincode through an external builder, which it runs as a program of its own: whatever
// program uses this package must serve it (see [Builder]), or name one that does in Spec.Builder.
package fabric
