import { describe, expect, it } from 'vitest';
import { clientKeys, ScramClient } from '../../../bench/driver/scram.ts';

/** RFC 7677 §3: the example exchange of SCRAM-SHA-256. */
const SERVER_FIRST = 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096';

describe('SCRAM-SHA-256 client of the bench, RFC 7677 §3', () => {
  it('sends what the example sends and accepts its server', () => {
    const client = new ScramClient('user', 'pencil', 'rOprNGfwEbeRWgbNEkqO');
    expect(client.first).toBe('n,,n=user,r=rOprNGfwEbeRWgbNEkqO');
    expect(client.final(SERVER_FIRST)).toBe(
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    );
    expect(() => client.verify('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')).not.toThrow();
  });

  it('refuses a wrong server signature and a foreign nonce', () => {
    const client = new ScramClient('user', 'pencil', 'rOprNGfwEbeRWgbNEkqO');
    client.final(SERVER_FIRST);
    expect(() => client.verify('v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')).toThrow('signature');
    expect(() => new ScramClient('user', 'pencil', 'other').final(SERVER_FIRST)).toThrow('challenge');
  });

  it('computes the keys of one salt once', () => {
    const salt = Buffer.from('salt');
    expect(clientKeys('p', salt, 2)).toBe(clientKeys('p', Buffer.from('salt'), 2));
    expect(clientKeys('p', salt, 3)).not.toBe(clientKeys('p', salt, 2));
  });
});
