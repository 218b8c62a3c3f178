"""CarRacing's physics in one compiled call: the part of Box2D that a car on a track needs.

Gymnasium's car is a hull and four wheels on revolute joints with a motor and limits; the road's
tiles are sensors that push nothing. For that, Box2D (2.3) comes down to a solver of four joints
and a test whether two convex polygons touch. Both are written here with Box2D's single-precision
operations in Box2D's order, so that positions, rewards and terminations agree with Gymnasium's bit
for bit (tests/test_sim.py). What is saved is Python between the operations and, of the solver's
180 sweeps, those after which no bit changes any more.

Sources: E. Catto, Box2D 2.3 (`b2RevoluteJoint`, `b2Island`); Gymnasium's `car_dynamics.py` for the
wheels. Contacts are in `awm.racing.contact`.
"""

import math
from typing import NamedTuple

import Box2D
import numpy as np
from gymnasium.envs.box2d import car_dynamics
from gymnasium.envs.box2d.car_dynamics import (
    ENGINE_POWER,
    FRICTION_LIMIT,
    SIZE,
    WHEEL_MOMENT_OF_INERTIA,
    WHEEL_R,
    WHEELPOS,
)
from gymnasium.envs.box2d.car_racing import FPS
from numba import njit

from awm.racing.contact import LINEAR_SLOP, polygons_touch

F = np.float32

DT = 1.0 / FPS
VELOCITY_SWEEPS = 6 * 30
POSITION_SWEEPS = 2 * 30

# Box2D's constants (b2Settings.h).
ANGULAR_SLOP = F(F(2.0) / F(180.0) * F(np.pi))
MAX_ANGULAR_CORRECTION = F(F(8.0) / F(180.0) * F(np.pi))
MAX_TRANSLATION = F(2.0)
MAX_ROTATION = F(F(0.5) * F(np.pi))
LINEAR_SLEEP = F(0.01)
ANGULAR_SLEEP = F(F(2.0) / F(180.0) * F(np.pi))
TIME_TO_SLEEP = F(0.5)

LOWER, UPPER = F(-0.4), F(0.4)
MAX_MOTOR_IMPULSE = F(F(DT) * F(180 * 900 * SIZE * SIZE))

HULL = 0  # bodies 1 to 4 are the wheels

# Columns of `Car.bodies`: sweep (centre, angle), velocity, and the transform at the body's origin.
CX, CY, ANGLE, VX, VY, SPIN, X, Y, SIN, COS, SLEEP = range(11)
# Columns of `Car.joints`: accumulated impulses, the motor's, its speed, and which limit is reached.
PX, PY, PZ, MOTOR, SPEED, LIMIT = range(6)
# Columns of `Car.wheels`, as Gymnasium names them.
STEER, GAS, BRAKE, OMEGA, PHASE = range(5)
# Entries of `Car.tally`: what Gymnasium's contact listener keeps.
REWARD, VISITED, NEW_LAP = range(3)


class Car(NamedTuple):
    """A car's state: `bodies` float32 `[5, 11]`, `joints` float32 `[4, 6]`, doubles `wheels`
    `[4, 5]` and `tally` `[3]`."""

    bodies: np.ndarray
    joints: np.ndarray
    wheels: np.ndarray
    tally: np.ndarray


class Road(NamedTuple):
    """A track: tiles' `corners` float32 `[n, 4, 2]` in Box2D's order, their bounding `boxes`
    `[n, 4]`, which wheel is `touching` which tile, bool `[4, n]`, which tiles have been `visited`
    and `painted` (touched by anything: they lose their tint), bool `[n]`."""

    corners: np.ndarray
    boxes: np.ndarray
    touching: np.ndarray
    visited: np.ndarray
    painted: np.ndarray


def _measure_car():
    """Mass, inertia, centre and corners of the car's bodies, as Box2D itself computes them.

    Inverse masses and inertias are not exposed: a unit push or turn of a body at rest shows them.
    """
    world = Box2D.b2World((0, 0))
    car = car_dynamics.Car(world, 0.0, 0.0, 0.0)
    bodies = [car.hull, *car.wheels]
    for wheel in car.wheels:
        world.DestroyJoint(wheel.joint)
    for i, body in enumerate(bodies):
        body.position = (100.0 * i, 0.0)  # where they do not push each other
        body.sleepingAllowed = False  # a second at so little speed would put them to sleep
    constants = np.zeros((5, 4), F)  # inverse mass, inverse inertia, centre x, y
    small = 2.0**-8  # a power of two: scaling by it is exact, and keeps speeds below Box2D's limit
    for body in bodies:
        body.ApplyForceToCenter((small, 0.0), True)
        body.ApplyTorque(small, True)
    world.Step(1.0, 1, 1)
    for row, body in zip(constants, bodies, strict=True):
        row[:] = (
            body.linearVelocity[0] / small,
            body.angularVelocity / small,
            body.localCenter[0],
            body.localCenter[1],
        )
    wheel = np.array([tuple(v) for v in car.wheels[0].fixtures[0].shape.vertices], F)
    parts = [np.array([tuple(v) for v in f.shape.vertices], F) for f in car.hull.fixtures]
    hull = np.zeros((len(parts), 8, 2), F)
    for target, corners in zip(hull, parts, strict=True):
        target[: len(corners)] = corners
    return constants, wheel, hull, np.array([len(p) for p in parts])


CONSTANTS, WHEEL_SHAPE, HULL_SHAPES, HULL_COUNTS = _measure_car()
ANCHORS = np.array([(x * SIZE, y * SIZE) for x, y in WHEELPOS], F)
WHEEL_RADIUS = 1.0 * WHEEL_R * SIZE
#: No part of a wheel, or of the hull, is further from its origin than this.
_WHEEL_REACH = F(0.7)
_HULL_REACH = F(3.0)


def place_car(angle: float, x: float, y: float) -> Car:
    """A car at rest with its hull's origin at (x, y), as `car_dynamics.Car` creates it.

    The wheels are put down beside the hull as if it were not turned: the joints pull them to
    their places within the first steps, in Gymnasium as here.
    """
    bodies = np.zeros((5, 11), F)
    bodies[:, ANGLE] = angle
    for i, body in enumerate(bodies):
        offset = (0, 0) if i == HULL else WHEELPOS[i - 1]
        body[X], body[Y] = x + offset[0] * SIZE, y + offset[1] * SIZE
    _begin(bodies)
    return Car(bodies, np.zeros((4, 6), F), np.zeros((4, 5)), np.zeros(3))


@njit(cache=True)
def _begin(bodies):
    for i in range(5):
        angle = bodies[i, ANGLE]
        s, c = math.sin(angle), math.cos(angle)
        bodies[i, SIN], bodies[i, COS] = s, c
        centre_x, centre_y = CONSTANTS[i, 2], CONSTANTS[i, 3]
        bodies[i, CX] = (c * centre_x - s * centre_y) + bodies[i, X]
        bodies[i, CY] = (s * centre_x + c * centre_y) + bodies[i, Y]


def lay_road(corners: np.ndarray) -> Road:
    """The road of tiles `[n, 4, 2]` (left and right of a tile's end, right and left of its start).

    Box2D keeps a polygon's corners counter-clockwise from the rightmost (the lowest of two).
    """
    tiles = np.asarray(corners, np.float64).astype(F)
    ahead, back = tiles[:, 1] - tiles[:, 0], tiles[:, 2] - tiles[:, 1]
    clockwise = ahead[:, 0] * back[:, 1] - ahead[:, 1] * back[:, 0] < 0
    tiles = np.where(clockwise[:, None, None], tiles[:, ::-1], tiles)
    first = np.lexsort((tiles[..., 1], -tiles[..., 0]), axis=-1)[:, 0]
    order = (first[:, None] + np.arange(4)) % 4
    tiles = np.ascontiguousarray(np.take_along_axis(tiles, order[..., None], axis=1))
    boxes = np.concatenate([tiles.min(axis=1), tiles.max(axis=1)], axis=1)
    n = len(tiles)
    return Road(tiles, boxes, np.zeros((4, n), bool), np.zeros(n, bool), np.zeros(n, bool))


@njit(cache=True, nogil=True)
def step(car, road, lap_complete_percent, acting, steer, gas, brake):
    """Advance a car by one step of 1/50 s: wheels, contacts, joints, in Gymnasium's order.

    Args:
        acting: False leaves the controls as they are; the pedals and the wheel are then ignored.
        steer: as `Car.steer` takes it, so minus the action's.

    Rewards and visits are added to `car.tally`.
    """
    if acting:
        _control(car.wheels, steer, gas, brake)
    force = np.zeros((5, 2), F)
    _drive_wheels(car, road, force)
    _touch_tiles(car, road, lap_complete_percent)
    _solve(car, force)


@njit(cache=True)
def _control(wheels, steer, gas, brake):
    gas = min(max(gas, 0.0), 1.0)
    for k in range(4):
        wheels[k, BRAKE] = brake
        if k < 2:
            wheels[k, STEER] = steer
        else:  # it is the rear wheels that drive; the pedal opens gradually and closes at once
            wheels[k, GAS] += min(gas - wheels[k, GAS], 0.1)


@njit(cache=True)
def _drive_wheels(car, road, force):
    bodies, joints, wheels = car.bodies, car.joints, car.wheels
    for k in range(4):
        wheel, body = wheels[k], bodies[k + 1]
        error = wheel[STEER] - np.float64(body[ANGLE] - bodies[HULL, ANGLE])
        joints[k, SPEED] = F(np.sign(error) * min(50.0 * abs(error), 3.0))

        limit = FRICTION_LIMIT * 0.6  # grass
        for touching in road.touching[k]:
            if touching:
                limit = max(limit, FRICTION_LIMIT * 1.0)
                break

        side_x, side_y = np.float64(body[COS]), np.float64(body[SIN])
        forward_x, forward_y = -side_y, side_x
        velocity_x, velocity_y = np.float64(body[VX]), np.float64(body[VY])
        forward_speed = forward_x * velocity_x + forward_y * velocity_y
        side_speed = side_x * velocity_x + side_y * velocity_y

        omega, brake = wheel[OMEGA], wheel[BRAKE]
        omega += DT * ENGINE_POWER * wheel[GAS] / WHEEL_MOMENT_OF_INERTIA / (abs(omega) + 5.0)
        if brake >= 0.9:
            omega = 0.0
        elif brake > 0:
            slowed = min(15 * brake, abs(omega))
            omega += -np.sign(omega) * slowed
        wheel[PHASE] += omega * DT

        forward_force = -forward_speed + omega * WHEEL_RADIUS
        side_force = -side_speed
        forward_force *= 205000 * SIZE * SIZE
        side_force *= 205000 * SIZE * SIZE
        total = math.sqrt(forward_force * forward_force + side_force * side_force)
        if total > limit:
            forward_force /= total
            side_force /= total
            forward_force *= limit
            side_force *= limit
        wheel[OMEGA] = omega - DT * forward_force * WHEEL_RADIUS / WHEEL_MOMENT_OF_INERTIA
        force[k + 1, 0] = F(side_force * side_x + forward_force * forward_x)
        force[k + 1, 1] = F(side_force * side_y + forward_force * forward_y)


@njit(cache=True)
def _touch_tiles(car, road, lap_complete_percent):
    """What Gymnasium's `FrictionDetector` does when contacts begin and end."""
    bodies, tally = car.bodies, car.tally
    boxes = road.boxes
    count = len(boxes)
    x, y = bodies[HULL, X], bodies[HULL, Y]
    # The wheels may be off their places while joints stretch, so the search is generous.
    for n in range(count):
        near = boxes[n, 0] - F(6) < x < boxes[n, 2] + F(6) and boxes[n, 1] - F(6) < y < boxes[
            n, 3
        ] + F(6)
        for k in range(4):
            wheel = bodies[k + 1]
            touches = False
            if near and _in_reach(boxes[n], wheel, _WHEEL_REACH):
                touches = polygons_touch(road.corners[n], 4, WHEEL_SHAPE, 4, _transform(wheel))
            if touches and not road.touching[k, n]:
                road.painted[n] = True
                if not road.visited[n]:
                    road.visited[n] = True
                    tally[REWARD] += 1000.0 / count
                    tally[VISITED] += 1
                    if n == 0 and tally[VISITED] / count > lap_complete_percent:
                        tally[NEW_LAP] = 1
            road.touching[k, n] = touches
        if near and not road.painted[n] and _in_reach(boxes[n], bodies[HULL], _HULL_REACH):
            for part in range(len(HULL_COUNTS)):
                shape, corners = HULL_SHAPES[part], HULL_COUNTS[part]
                if polygons_touch(road.corners[n], 4, shape, corners, _transform(bodies[HULL])):
                    road.painted[n] = True
                    break


@njit(cache=True)
def _transform(body):
    return body[SIN], body[COS], body[X], body[Y]


@njit(cache=True)
def _in_reach(box, body, reach):
    return box[0] - reach < body[X] < box[2] + reach and box[1] - reach < body[Y] < box[3] + reach


@njit(cache=True)
def _solve(car, force):
    """Box2D's island of five bodies and four joints, without contacts."""
    bodies, joints = car.bodies, car.joints
    h = F(DT)
    for i in range(5):
        bodies[i, VX] += h * (F(0) + CONSTANTS[i, 0] * force[i, 0])
        bodies[i, VY] += h * (F(0) + CONSTANTS[i, 0] * force[i, 1])

    arms = np.empty((4, 4), F)  # of both bodies' anchors about their centres
    mass = np.empty((4, 6), F)  # xx, xy, yy, xz, yz, zz
    for k in range(3, -1, -1):  # Box2D meets the joint created last first
        _prepare_joint(bodies, joints[k], k, arms[k], mass[k])
    _sweep_velocities(bodies, joints, arms, mass)

    for i in range(5):
        body = bodies[i]
        moved_x, moved_y = h * body[VX], h * body[VY]
        squared = moved_x * moved_x + moved_y * moved_y
        if squared > MAX_TRANSLATION * MAX_TRANSLATION:
            ratio = MAX_TRANSLATION / math.sqrt(squared)
            body[VX] *= ratio
            body[VY] *= ratio
        turned = h * body[SPIN]
        if turned * turned > MAX_ROTATION * MAX_ROTATION:
            body[SPIN] *= MAX_ROTATION / abs(turned)
        body[CX] += h * body[VX]
        body[CY] += h * body[VY]
        body[ANGLE] += h * body[SPIN]

    solved = False
    for _sweep in range(POSITION_SWEEPS):
        solved = True
        for k in range(3, -1, -1):
            solved = _solve_position(bodies, joints[k], k) and solved
        if solved:
            break

    rest = F(1e9)
    for i in range(5):
        body = bodies[i]
        s, c = math.sin(body[ANGLE]), math.cos(body[ANGLE])
        body[SIN], body[COS] = s, c
        body[X] = body[CX] - (c * CONSTANTS[i, 2] - s * CONSTANTS[i, 3])
        body[Y] = body[CY] - (s * CONSTANTS[i, 2] + c * CONSTANTS[i, 3])
        speed = body[VX] * body[VX] + body[VY] * body[VY]
        spin = body[SPIN] * body[SPIN]
        if spin > ANGULAR_SLEEP * ANGULAR_SLEEP or speed > LINEAR_SLEEP * LINEAR_SLEEP:
            body[SLEEP] = F(0)
        else:
            body[SLEEP] += h
        rest = min(rest, body[SLEEP])
    if rest >= TIME_TO_SLEEP and solved:
        # The bodies fall asleep; the motors wake them before the next step.
        bodies[:, VX : SPIN + 1] = F(0)
        bodies[:, SLEEP] = F(0)


@njit(cache=True)
def _sweep_velocities(bodies, joints, arms, mass):
    """180 sweeps over the joints, or what comes to the same.

    After some nine sweeps velocities mostly repeat themselves bit for bit, in a fixed point or a
    short cycle of rounding. What a sweep does hangs on the velocities, the motors' impulses and
    the limits'; the impulses PX and PY are only added up. So once that state has come back, whole
    cycles are only added up too, in their order. The state to be met again is renewed at sweeps
    1, 2, 4, 8, ... (Brent 1980).
    """
    # Velocities of the hull and the wheels, motors' and limits' impulses: all that feeds back.
    state = np.empty(23, F)
    for i in range(5):
        for column in range(3):
            state[3 * i + column] = bodies[i, VX + column]
    for k in range(4):
        state[15 + k], state[19 + k] = joints[k, MOTOR], joints[k, PZ]
    # What Box2D computes anew in every sweep though it stays the same.
    motor_mass, inverse = np.empty(4, F), np.empty(4, F)
    for k in range(4):
        motor_mass[k] = F(1) / (CONSTANTS[HULL, 1] + CONSTANTS[k + 1, 1])
        determinant = mass[k, 0] * mass[k, 2] - mass[k, 1] * mass[k, 1]
        inverse[k] = F(1) / determinant if determinant != F(0) else determinant

    before = state.copy()
    added = np.empty((VELOCITY_SWEEPS, 4, 2), F)
    noted, sweep, repeats = 0, 0, -1
    while sweep < VELOCITY_SWEEPS:
        _sweep(state, joints, arms, mass, motor_mass, inverse, added[sweep])
        sweep += 1
        if repeats < 0:
            if _same(state, before):
                repeats = (VELOCITY_SWEEPS - sweep) // (sweep - noted)
                for _cycle in range(repeats):
                    for n in range(noted, sweep):
                        for k in range(4):
                            joints[k, PX] += added[n, k, 0]
                            joints[k, PY] += added[n, k, 1]
                sweep += repeats * (sweep - noted)
            elif sweep >= 2 * noted:
                before[:] = state
                noted = sweep

    for i in range(5):
        for column in range(3):
            bodies[i, VX + column] = state[3 * i + column]
    for k in range(4):
        joints[k, MOTOR], joints[k, PZ] = state[15 + k], state[19 + k]


@njit(cache=True)
def _same(state, before):
    for n in range(len(state)):  # noqa: SIM110 (numba has no `all` of a generator)
        if state[n] != before[n]:
            return False
    return True


@njit(cache=True)
def _sweep(state, joints, arms, mass, motor_mass, inverse, added):
    """One sweep over the four joints: motor, limit, point; `added` `[4, 2]` are the impulses."""
    m_hull, i_hull = CONSTANTS[HULL, 0], CONSTANTS[HULL, 1]
    hull_x, hull_y, hull_spin = state[0], state[1], state[2]
    for k in range(3, -1, -1):
        m_wheel, i_wheel = CONSTANTS[k + 1, 0], CONSTANTS[k + 1, 1]
        ax, ay, bx, by = arms[k, 0], arms[k, 1], arms[k, 2], arms[k, 3]
        wheel_x, wheel_y, spin = state[3 * k + 3], state[3 * k + 4], state[3 * k + 5]

        old = state[15 + k]
        new = old + -motor_mass[k] * (spin - hull_spin - joints[k, SPEED])
        new = max(-MAX_MOTOR_IMPULSE, min(new, MAX_MOTOR_IMPULSE))
        state[15 + k] = new
        hull_spin -= i_hull * (new - old)
        spin += i_wheel * (new - old)

        error_x = wheel_x + -spin * by - hull_x - -hull_spin * ay
        error_y = wheel_y + spin * bx - hull_y - hull_spin * ax
        limit = joints[k, LIMIT]
        z = F(0)
        if limit == F(0):
            x = inverse[k] * (mass[k, 2] * -error_x - mass[k, 1] * -error_y)
            y = inverse[k] * (mass[k, 0] * -error_y - mass[k, 1] * -error_x)
            turn_hull, turn_wheel = ax * y - ay * x, bx * y - by * x
        else:
            x, y, z = _solve_3x3(mass[k], error_x, error_y, spin - hull_spin)
            x, y, z = -x, -y, -z
            held = state[19 + k]
            new = held + z
            if (limit < F(0) and new < F(0)) or (limit > F(0) and new > F(0)):
                # The limit would pull: let go of it and solve the point alone.
                right_x, right_y = -error_x + held * mass[k, 3], -error_y + held * mass[k, 4]
                x = inverse[k] * (mass[k, 2] * right_x - mass[k, 1] * right_y)
                y = inverse[k] * (mass[k, 0] * right_y - mass[k, 1] * right_x)
                z = -held
                state[19 + k] = F(0)
            else:
                state[19 + k] = new
            turn_hull, turn_wheel = (ax * y - ay * x) + z, (bx * y - by * x) + z
        added[k, 0], added[k, 1] = x, y
        joints[k, PX] += x
        joints[k, PY] += y
        hull_x -= m_hull * x
        hull_y -= m_hull * y
        hull_spin -= i_hull * turn_hull
        state[3 * k + 3] = wheel_x + m_wheel * x
        state[3 * k + 4] = wheel_y + m_wheel * y
        state[3 * k + 5] = spin + i_wheel * turn_wheel
    state[0], state[1], state[2] = hull_x, hull_y, hull_spin


@njit(cache=True)
def _arms(hull_angle, wheel_angle, k, arms):
    s, c = math.sin(hull_angle), math.cos(hull_angle)
    x, y = ANCHORS[k, 0] - CONSTANTS[HULL, 2], ANCHORS[k, 1] - CONSTANTS[HULL, 3]
    arms[0], arms[1] = c * x - s * y, s * x + c * y
    s, c = math.sin(wheel_angle), math.cos(wheel_angle)
    x, y = F(0) - CONSTANTS[k + 1, 2], F(0) - CONSTANTS[k + 1, 3]
    arms[2], arms[3] = c * x - s * y, s * x + c * y


@njit(cache=True)
def _push(bodies, k, arms, x, y, turn_hull, turn_wheel):
    """Apply an impulse (x, y) at a joint; the turns have Box2D's extra angular impulses added."""
    hull, wheel = bodies[HULL], bodies[k + 1]
    m_hull, i_hull = CONSTANTS[HULL, 0], CONSTANTS[HULL, 1]
    m_wheel, i_wheel = CONSTANTS[k + 1, 0], CONSTANTS[k + 1, 1]
    hull[VX] -= m_hull * x
    hull[VY] -= m_hull * y
    hull[SPIN] -= i_hull * turn_hull
    wheel[VX] += m_wheel * x
    wheel[VY] += m_wheel * y
    wheel[SPIN] += i_wheel * turn_wheel


@njit(cache=True)
def _prepare_joint(bodies, joint, k, arms, mass):
    hull, wheel = bodies[HULL], bodies[k + 1]
    m_hull, i_hull = CONSTANTS[HULL, 0], CONSTANTS[HULL, 1]
    m_wheel, i_wheel = CONSTANTS[k + 1, 0], CONSTANTS[k + 1, 1]
    _arms(hull[ANGLE], wheel[ANGLE], k, arms)
    ax, ay, bx, by = arms
    mass[0] = m_hull + m_wheel + ay * ay * i_hull + by * by * i_wheel
    mass[1] = -ay * ax * i_hull - by * bx * i_wheel
    mass[2] = m_hull + m_wheel + ax * ax * i_hull + bx * bx * i_wheel
    mass[3] = -ay * i_hull - by * i_wheel
    mass[4] = ax * i_hull + bx * i_wheel
    mass[5] = i_hull + i_wheel
    angle = wheel[ANGLE] - hull[ANGLE]
    if angle <= LOWER:
        if joint[LIMIT] != F(-1):
            joint[PZ] = F(0)
        joint[LIMIT] = F(-1)
    elif angle >= UPPER:
        if joint[LIMIT] != F(1):
            joint[PZ] = F(0)
        joint[LIMIT] = F(1)
    else:
        joint[LIMIT] = F(0)
        joint[PZ] = F(0)
    x, y = joint[PX], joint[PY]
    turn_hull = (ax * y - ay * x) + joint[MOTOR] + joint[PZ]
    turn_wheel = (bx * y - by * x) + joint[MOTOR] + joint[PZ]
    _push(bodies, k, arms, x, y, turn_hull, turn_wheel)


@njit(cache=True)
def _solve_2x2(xx, xy, yy, x, y):
    determinant = xx * yy - xy * xy
    if determinant != F(0):
        determinant = F(1) / determinant
    return determinant * (yy * x - xy * y), determinant * (xx * y - xy * x)


@njit(cache=True)
def _solve_3x3(mass, x, y, z):
    xx, xy, yy, xz, yz, zz = mass
    # Cramer's rule with Box2D's cross products; columns (xx, xy, xz), (xy, yy, yz), (xz, yz, zz).
    cross_x, cross_y, cross_z = yy * zz - yz * yz, yz * xz - xy * zz, xy * yz - yy * xz
    determinant = xx * cross_x + xy * cross_y + xz * cross_z
    if determinant != F(0):
        determinant = F(1) / determinant
    first = determinant * (x * cross_x + y * cross_y + z * cross_z)
    second = determinant * (
        xx * (y * zz - z * yz) + xy * (z * xz - x * zz) + xz * (x * yz - y * xz)
    )
    third = determinant * (xx * (yy * z - yz * y) + xy * (yz * x - xy * z) + xz * (xy * y - yy * x))
    return first, second, third


@njit(cache=True)
def _solve_position(bodies, joint, k):
    hull, wheel = bodies[HULL], bodies[k + 1]
    m_hull, i_hull = CONSTANTS[HULL, 0], CONSTANTS[HULL, 1]
    m_wheel, i_wheel = CONSTANTS[k + 1, 0], CONSTANTS[k + 1, 1]
    angular_error = F(0)
    if joint[LIMIT] != F(0):
        angle = wheel[ANGLE] - hull[ANGLE]
        if joint[LIMIT] < F(0):
            excess = angle - LOWER
            angular_error = -excess
            excess = max(-MAX_ANGULAR_CORRECTION, min(excess + ANGULAR_SLOP, F(0)))
        else:
            excess = angle - UPPER
            angular_error = excess
            excess = max(F(0), min(excess - ANGULAR_SLOP, MAX_ANGULAR_CORRECTION))
        impulse = -(F(1) / (i_hull + i_wheel)) * excess
        hull[ANGLE] -= i_hull * impulse
        wheel[ANGLE] += i_wheel * impulse

    arms = np.empty(4, F)
    _arms(hull[ANGLE], wheel[ANGLE], k, arms)
    ax, ay, bx, by = arms
    error_x = wheel[CX] + bx - hull[CX] - ax
    error_y = wheel[CY] + by - hull[CY] - ay
    position_error = math.sqrt(error_x * error_x + error_y * error_y)
    xx = m_hull + m_wheel + i_hull * ay * ay + i_wheel * by * by
    xy = -i_hull * ax * ay - i_wheel * bx * by
    yy = m_hull + m_wheel + i_hull * ax * ax + i_wheel * bx * bx
    x, y = _solve_2x2(xx, xy, yy, error_x, error_y)
    x, y = -x, -y
    hull[CX] -= m_hull * x
    hull[CY] -= m_hull * y
    hull[ANGLE] -= i_hull * (ax * y - ay * x)
    wheel[CX] += m_wheel * x
    wheel[CY] += m_wheel * y
    wheel[ANGLE] += i_wheel * (bx * y - by * x)
    return position_error <= LINEAR_SLOP and angular_error <= ANGULAR_SLOP
