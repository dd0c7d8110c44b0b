// Drives a ledger with the official Node client: a write, a read, a refusal, events and blocks.
// Usage: node client.js '{"address","root","mspId","cert","key","channel","chaincode"}' (the last four PEM or names)
// It prints one line of JSON with what it saw.
import * as crypto from 'node:crypto';
import * as grpc from '@grpc/grpc-js';
import { connect, EndorseError, hash, signers } from '@hyperledger/fabric-gateway';

const config = JSON.parse(process.argv[2]);
const rpc = new grpc.Client(config.address, grpc.credentials.createSsl(Buffer.from(config.root)),
  { 'grpc.ssl_target_name_override': 'localhost' });
const gateway = connect({
  client: rpc,
  identity: { mspId: config.mspId, credentials: Buffer.from(config.cert) },
  signer: signers.newPrivateKeySigner(crypto.createPrivateKey(config.key)),
  hash: hash.sha256,
});
const text = (bytes) => Buffer.from(bytes).toString('utf8');
const seen = {};
try {
  const network = gateway.getNetwork(config.channel);
  const contract = network.getContract(config.chaincode);

  seen.result = text(await contract.submitTransaction('put', 'node', '你好'));
  seen.value = text(await contract.evaluateTransaction('get', 'node'));

  const commit = await contract.submitAsync('event', { arguments: ['changed', 'payload'] });
  const status = await commit.getStatus();
  seen.status = { code: status.code, block: Number(status.blockNumber), successful: status.successful };

  try {
    await contract.submitTransaction('fail');
  } catch (error) {
    seen.refusal = { endorse: error instanceof EndorseError, code: error.code, details: error.details.map((d) => d.message) };
  }

  const events = await network.getChaincodeEvents(config.chaincode, { startBlock: 0n });
  for await (const event of events) {
    seen.event = { name: event.eventName, payload: text(event.payload), block: Number(event.blockNumber), same: event.transactionId === commit.getTransactionId() };
    break;
  }
  events.close();

  seen.blocks = [];
  const blocks = await network.getBlockEvents({ startBlock: 0n });
  for await (const block of blocks) {
    seen.blocks.push(block.getHeader().getNumber());
    if (seen.blocks.length === 3) {
      break;
    }
  }
  blocks.close();

  const filtered = await network.getFilteredBlockEvents({ startBlock: 1n });
  for await (const block of filtered) {
    seen.filtered = block.getFilteredTransactionsList()[0].getTxValidationCode();
    break;
  }
  filtered.close();
} finally {
  gateway.close();
  rpc.close();
}
console.log(JSON.stringify(seen));
